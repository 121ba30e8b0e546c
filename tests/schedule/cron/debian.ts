/**
 * Postgres 17 with pg_cron and pgTAP from Debian trixie, unpacked beside the host: nothing of the host is changed. Needs
 * a Debian host (apt-get, dpkg) whose package source also carries trixie; which one that is, is the host's own setting.
 */
import { output } from "../../support/command.ts";

const packages = `libaudit1 libc6 libcap-ng0 libcap2 libcom-err2 libgcc-s1 libgssapi-krb5-2 libicu76 libk5crypto3
  libkeyutils1 libkrb5-3 libkrb5support0 libldap2 liblz4-1 liblzma5 libpam0g libpq5 libreadline8t64 libsasl2-2
  libssl3t64 libstdc++6 libsystemd0 libtinfo6 libuuid1 libxml2 libxxhash0 libzstd1 postgresql-17 postgresql-17-cron
  postgresql-17-pgtap zlib1g`.split(/\s+/);

const [triplet, loader] = Deno.build.arch === "aarch64"
  ? ["aarch64-linux-gnu", "ld-linux-aarch64.so.1"]
  : ["x86_64-linux-gnu", "ld-linux-x86-64.so.2"];

/** Unpacks into `cache` unless it is there; returns the directory that holds bin/postgres and bin/initdb. */
export async function unpackPostgres(cache: string): Promise<string> {
  const bin = "usr/lib/postgresql/17/bin";
  await unpack(cache, packages, [`${bin}/postgres`, `${bin}/initdb`]);
  return `${cache}/usr/lib/postgresql/17`;
}

/** Unpacks Debian's packages into `cache` unless it is there, and makes `programs` of theirs run on this host. */
export async function unpack(cache: string, packages: string[], programs: string[]): Promise<void> {
  if (await Deno.stat(`${cache}/${programs[0]}`).then(() => true, () => false)) return;
  const draft = `${cache}.${crypto.randomUUID()}`;
  try {
    await download(`${draft}/apt`, packages);
    for await (const { name } of Deno.readDir(`${draft}/apt/packages`)) {
      await run("dpkg", ["-x", `${draft}/apt/packages/${name}`, draft]);
    }
    await Deno.remove(`${draft}/apt`, { recursive: true });
    for (const program of programs) await wrap(draft, cache, program);
    await Deno.rename(draft, cache);
  } finally {
    await Deno.remove(draft, { recursive: true }).catch(() => {});
  }
}

/** The host's C library may be older: the program is started by the one it was unpacked with. */
async function wrap(draft: string, root: string, program: string): Promise<void> {
  const libraries = `${root}/usr/lib/${triplet}`;
  await Deno.rename(`${draft}/${program}`, `${draft}/${program}.real`);
  const command = [`${libraries}/${loader}`, "--argv0", `${root}/${program}`, "--library-path", libraries];
  const words = [...command, `${root}/${program}.real`].map((word) => `'${word}'`).join(" ");
  await Deno.writeTextFile(`${draft}/${program}`, `#!/bin/sh\nexec ${words} "$@"\n`);
  await Deno.chmod(`${draft}/${program}`, 0o755);
}

async function download(apt: string, packages: string[]): Promise<void> {
  const sources = await debianSources();
  for (const part of ["lists/partial", "cache/archives/partial", "packages"]) {
    await Deno.mkdir(`${apt}/${part}`, { recursive: true });
  }
  await Deno.writeTextFile(`${apt}/status`, "");
  await Deno.writeTextFile(`${apt}/apt.conf`, configuration(apt));
  for (const [index, source] of sources.entries()) {
    const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg";
    await Deno.writeTextFile(`${apt}/sources.list`, `deb [signed-by=${keyring}] ${source} trixie main\n`);
    try {
      await run("apt-get", ["-qq", "update"], `${apt}/packages`, `${apt}/apt.conf`);
      await run("apt-get", ["-qq", "download", ...packages], `${apt}/packages`, `${apt}/apt.conf`);
      return;
    } catch (error) {
      if (index === sources.length - 1) throw error;
    }
  }
}

/** An apt of its own: the host's lists, sources and installed packages play no part; its proxy and logins do. */
function configuration(apt: string): string {
  return `Dir::Etc::sourcelist "${apt}/sources.list";
Dir::Etc::sourceparts "/dev/null";
Dir::State::Lists "${apt}/lists";
Dir::State::status "${apt}/status";
Dir::Cache "${apt}/cache";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "3";
`;
}

/** Where the host has its own Debian packages from: apt itself says so, whatever files its settings are in. */
async function debianSources(): Promise<string[]> {
  const uris = await run("apt-get", ["update", "--print-uris"]);
  const found = [...uris.matchAll(/^'(\S+)\/dists\/([a-z]+)\/InRelease'/gm)].map(([, source]) => source);
  if (found.length === 0) throw new Error("apt-get knows no source of Debian packages on this host");
  return [...new Set(found)];
}

async function run(command: string, args: string[], cwd?: string, config?: string): Promise<string> {
  const env: Record<string, string> = { LC_ALL: "C", ...(config && { APT_CONFIG: config }) };
  return await output(command, args, { cwd, env });
}
