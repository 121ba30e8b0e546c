/** Request -> authentication -> load -> response: the loader as an edge function. */
import { createHash, timingSafeEqual } from "node:crypto";
import { connect } from "./database/connect.ts";
import { health, shared } from "./database/statements.ts";
import { asEtlError, EtlError } from "./errors.ts";
import { allowanceOfFunction, heartbeatMs, longestRequest } from "./limits.ts";
import { isDay, load, type LoadOptions, type Progress } from "./load.ts";
import { errorReport, type Report } from "./report.ts";

type Wanted = Pick<LoadOptions, "feeds" | "force" | "day" | "dryRun" | "allowance">;

const statusOf: Record<string, number> = { busy: 409, unknown_feed: 404, request: 400, day: 400, internal: 500 };

/**
 * POST /etl with `Authorization: Bearer <trigger secret>` and, optionally,
 * `{"feeds":[…],"force":true,"dry_run":true,"deadline":45,"day":"2021-07-01"}`, the deadline in seconds.
 *
 * Answers the JSON report: 200 when all is well, 207 where some feeds failed, 502 where all did; where the run could
 * not be, `{"error":{code,message,hint}}` with 400, 404, 409 or 503. With `Accept: application/x-ndjson`: 200 and a line
 * for each step, the last one the report or the error.
 *
 * GET /etl/rejects/<token> shows a partner his rejects, by a link of etl.share() and no secret: as a letter, or with
 * `?format=csv` or `Accept: text/csv` as CSV.
 *
 * GET /etl with the same secret looks, and changes nothing: `{"status","feeds":[…]}`, the rows of etl.health(), with 200
 * when every feed is ok and 503 when one is not.
 */
export async function handle(request: Request): Promise<Response> {
  const path = new URL(request.url).pathname;
  const link = /^(?:\/functions\/v1)?\/etl\/rejects\/([^/]*)$/.exec(path);
  if (link) return await show(request, link[1]);
  if (path !== "/etl" && path !== "/functions/v1/etl") return refuse(404, "not_found");
  if (!["GET", "POST"].includes(request.method)) return refuse(405, "method", { allow: "GET, POST" });
  const secrets = triggerSecrets();
  if (secrets.length === 0) {
    console.error("ETL_TRIGGER_SECRET is not set, or has a secret of fewer than 32 characters: every call is refused.");
    return refuse(503, "not_configured");
  }
  if (!allowed(request.headers.get("authorization"), secrets)) return refuse(401, "secret_refused");
  try {
    if (request.method === "GET") return await look();
    const wanted = await read(request);
    const streams = request.headers.get("accept")?.includes("application/x-ndjson");
    return streams ? stream(wanted) : answer(await run(wanted));
  } catch (error) {
    return answer(asEtlError(error, "Cannot run"));
  }
}

/** The secrets that open the door: one, or for a rotation two, separated by a comma. An empty part is none. */
function triggerSecrets(): string[] {
  const secrets = (Deno.env.get("ETL_TRIGGER_SECRET") ?? "").split(",").map((secret) => secret.trim()).filter(Boolean);
  return secrets.every((secret) => secret.length >= 32) ? secrets : [];
}

/** Compared as hashes, all of them, so that the time taken tells nothing. */
function allowed(authorization: string | null, secrets: string[]): boolean {
  const given = /^Bearer ([\x21-\x2b\x2d-\x7e]{1,512})$/.exec(authorization ?? "")?.[1] ?? "";
  const hash = (text: string) => createHash("sha256").update(text).digest();
  return secrets.map((secret) => timingSafeEqual(hash(secret), hash(given))).includes(true);
}

async function read(request: Request): Promise<Wanted> {
  const text = await limitedText(request);
  let body;
  try {
    body = text.trim() === "" ? {} : JSON.parse(text);
  } catch (cause) {
    throw badRequest("the body is not JSON", { cause });
  }
  if (body === null || typeof body !== "object" || Array.isArray(body)) throw badRequest("the body is no JSON object");
  const { feeds = [], force = false, dry_run = false, day, ...more } = body;
  const { deadline = allowanceOfFunction.deadlineMs / 1000, ...others } = more;
  const isNames = Array.isArray(feeds) && feeds.every((name) => typeof name === "string");
  const isTime = typeof deadline === "number" && deadline > 0 && deadline <= 86_400;
  if (
    !isNames || !isTime || (day !== undefined && !isDay(day)) || typeof force !== "boolean" ||
    typeof dry_run !== "boolean" || Object.keys(others).length > 0
  ) {
    throw badRequest("the body holds something else than is expected");
  }
  return { feeds, force, day, dryRun: dry_run, allowance: { ...allowanceOfFunction, deadlineMs: deadline * 1000 } };
}

async function limitedText(request: Request): Promise<string> {
  let text = "";
  for await (const part of request.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += part;
    if (text.length > longestRequest) throw badRequest("the body is too long");
  }
  return text;
}

function badRequest(message: string, options?: ErrorOptions): EtlError {
  return new EtlError(
    "request",
    message,
    '{"feeds":["trips"],"force":true,"dry_run":true,"deadline":45,"day":"2021-07-01"}, each optional',
    options,
  );
}

function databaseUrl(): string {
  const url = Deno.env.get("DATABASE_URL") || Deno.env.get("SUPABASE_DB_URL");
  if (!url) throw new EtlError("database_url", "Neither DATABASE_URL nor SUPABASE_DB_URL is set");
  return url;
}

/** For whoever watches from outside: an uptime monitor reads the status alone. */
async function look(): Promise<Response> {
  await using client = await connect(databaseUrl());
  const feeds = await health(client);
  const isWell = feeds.every(({ verdict }) => verdict === "ok");
  return json(isWell ? 200 : 503, { status: isWell ? "ok" : "trouble", feeds });
}

/** For a partner: nothing of it may be kept, or taken for something else. */
async function show(request: Request, token: string): Promise<Response> {
  const { searchParams } = new URL(request.url);
  const text = (status: number, body: string, more: HeadersInit = {}) => {
    const all = new Headers(more);
    for (const [name, value] of Object.entries(ofShown)) if (!all.has(name)) all.set(name, value);
    return new Response(request.method === "HEAD" ? null : body, { status, headers: all });
  };
  if (!["GET", "HEAD"].includes(request.method)) {
    return text(405, "This link can only be read.\n", { allow: "GET, HEAD" });
  }
  const wanted = searchParams.get("format") ?? request.headers.get("accept") ?? "";
  const asCsv = /^(?:csv|text\/csv\b)/i.test(wanted.trim());
  try {
    await using client = await connect(databaseUrl());
    // The database is told the hash alone: what it is told it may log.
    const { status, file_name, body } = await shared(client, createHash("sha256").update(token).digest(), asCsv);
    if (status !== 200 || !asCsv) return text(status, body, status === 429 ? { "retry-after": "60" } : {});
    return text(200, body, {
      "content-type": "text/csv; charset=utf-8",
      "content-disposition": `attachment; filename="${file_name}.csv"`,
    });
  } catch (error) {
    console.error(asEtlError(error, "Cannot show rejects").message);
    return text(503, "This cannot be shown just now. Try again later.\n");
  }
}

const ofShown = {
  "content-type": "text/plain; charset=utf-8",
  "cache-control": "no-store",
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-robots-tag": "noindex",
};

async function run(wanted: Wanted, onProgress?: (progress: Progress) => void): Promise<Report> {
  // The platform tells a worker that it is about to end it.
  const ending = new AbortController();
  const end = () => ending.abort("the platform ends the function");
  addEventListener("beforeunload", end);
  const report = await load({ ...wanted, databaseUrl: databaseUrl(), onProgress, ending: ending.signal })
    .finally(() => removeEventListener("beforeunload", end));
  for (const { error } of report.feeds) if (error) console.error(error.message);
  return report;
}

function answer(result: Report | EtlError): Response {
  if (result instanceof EtlError) {
    console.error(result.message);
    return json(statusOf[result.code] ?? 503, { error: errorReport(result) });
  }
  const failed = result.feeds.filter((feed) => feed.status === "failed").length;
  return json(failed === 0 ? 200 : failed < result.feeds.length ? 207 : 502, result);
}

/** Lines as the run goes on, and one every 15 s when nothing does: the platform ends what is silent for 150 s. */
function stream(wanted: Wanted): Response {
  let stop = () => {};
  const body = new ReadableStream<string>({
    start(controller) {
      let last = { feed: "", step: "" };
      let line = (value: unknown) => controller.enqueue(JSON.stringify(value) + "\n");
      const heartbeat = setInterval(() => line({ progress: last }), heartbeatMs);
      stop = () => {
        clearInterval(heartbeat);
        line = () => {};
      };
      const onProgress = (progress: Progress) => {
        const news = progress.feed !== last.feed || progress.step !== last.step;
        last = { ...progress };
        if (news) line({ progress: last });
      };
      // A caller who goes away does not end the run.
      run(wanted, onProgress).catch((error) => asEtlError(error, "Cannot run")).then((result) => {
        line(result instanceof EtlError ? { error: errorReport(result) } : result);
        stop();
        controller.close();
      }).catch(() => {});
    },
    cancel: () => stop(),
  });
  return new Response(body.pipeThrough(new TextEncoderStream()), { headers: headers("application/x-ndjson") });
}

function refuse(status: number, code: string, extra: HeadersInit = {}): Response {
  return json(status, { error: { code } }, extra);
}

function json(status: number, value: unknown, extra: HeadersInit = {}): Response {
  const all = headers("application/json");
  new Headers(extra).forEach((text, name) => all.set(name, text));
  return new Response(JSON.stringify(value) + "\n", { status, headers: all });
}

/** x-tdc-etl marks our answers among those that pg_net keeps. */
function headers(type: string): Headers {
  return new Headers({ "content-type": type, "cache-control": "no-store", "x-tdc-etl": "1" });
}
