/** Where it is measured: a Postgres, a web server and a directory of files, all made here and gone at the end. */
import { type Client, connect } from "../lib/database/connect.ts";
import { migrate } from "../lib/local/migrate.ts";
import { startPostgres } from "../lib/local/postgres/start.ts";
import { keepCertificates } from "../tests/support/certificates.ts";
import { type DataFile, formats } from "./data.ts";
import { startScript } from "./processes.ts";
import { drivers } from "./trips.ts";

/** How a measured process gets to the servers. */
export interface Way {
  databaseUrl: string;
  /** Of what serves the directory. */
  serverUrl: string;
  env: Record<string, string>;
}

export interface Place extends Way, AsyncDisposable {
  tls: Way;
  /** The Deno that is measured. */
  deno: string;
  /** The owner of the tables, as whom all that is measured connects. */
  client: Client;
  /** The superuser. */
  admin: Client;
  /** What the server serves. */
  directory: string;
}

/** Nothing runs in the background that would add to a time or to the WAL: who wants statistics, vacuums. */
const settings = ["max_wal_size=4GB", "checkpoint_timeout=1h", "autovacuum=off"];

export async function openPlace(deno: string): Promise<Place> {
  await using stack = new AsyncDisposableStack();
  const home = await temporaryDirectory(stack);
  const { authority, certificate, key, settings: ssl } = await keepCertificates(home, ["localhost"]);
  const postgres = await startPostgres(home, [...settings, ...ssl]);
  stack.defer(postgres.stop);
  const directory = await temporaryDirectory(stack);
  const urls = await startScript(stack, Deno.execPath(), "server.ts", directory, certificate, key);
  const [serverUrl, tlsUrl] = urls.split(" ");
  await migrate(postgres.url);
  const client = stack.adopt(await connect(postgres.url), (client) => client.end());
  const admin = stack.adopt(await connect(postgres.adminUrl), (client) => client.end());
  await addFeeds(client);
  await addDrivers(client);
  const end = stack.move();
  return {
    deno,
    client,
    admin,
    databaseUrl: postgres.url,
    serverUrl,
    env: {},
    tls: { databaseUrl: byTls(postgres.url), serverUrl: tlsUrl, env: { DENO_CERT: authority } },
    directory,
    [Symbol.asyncDispose]: () => end.disposeAsync(),
  };
}

function byTls(databaseUrl: string): string {
  const url = new URL(databaseUrl);
  url.hostname = "localhost";
  url.search = "sslmode=verify-full";
  return url.href;
}

async function temporaryDirectory(stack: AsyncDisposableStack): Promise<string> {
  const directory = await Deno.makeTempDir({ prefix: "tdc-etl-bench-" });
  stack.defer(() => Deno.remove(directory, { recursive: true }));
  return directory;
}

/** One for each format, of the same name; all load trips. */
async function addFeeds(client: Client): Promise<void> {
  for (const format of formats) {
    await client.query(
      "insert into etl.feeds (name, url, target, format) values ($1, '', 'public.trips', $2)",
      [format, /json/.test(format) ? format : "csv"],
    );
  }
}

async function addDrivers(client: Client): Promise<void> {
  await client.query("insert into drivers (id) select 'driver-' || n from generate_series(1, $1) n", [drivers]);
  await client.query("vacuum (analyze) public.drivers");
}

/** Has the file's feed come from this server, and returns its URL there. */
export async function serveFile(place: Place, file: DataFile, withEtag = false, way: Way = place): Promise<string> {
  const url = way.serverUrl + file.path.slice(place.directory.length) + (withEtag ? "?etag" : "");
  await place.client.query("update etl.feeds set url = $2 where name = $1", [file.format, url]);
  return url;
}
