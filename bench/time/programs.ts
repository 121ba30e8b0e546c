/** Shell lines of the programs that a machine may have or lack. */
import { names } from "../data.ts";
import { byHand, upsertFrom } from "./upsert.ts";

/** Where a job finds the file and the database. */
export interface Target {
  url: string;
  databaseUrl: string;
  /** For what a program wants in files. */
  directory: string;
}

export function has(program: string): boolean {
  const directories = (Deno.env.get("PATH") ?? "").split(":");
  return directories.some((directory) => {
    try {
      return Deno.statSync(`${directory}/${program}`).isFile;
    } catch {
      return false;
    }
  });
}

/** By hand, streamed, in one transaction. */
export function psql({ url, databaseUrl }: Target): string[] {
  const commands = [byHand.table, `\\${byHand.copy.replace("stdin", "pstdin")}`, byHand.merge];
  const options = commands.map((command) => `-c '${command}'`).join(" ");
  return ["shell", `curl -sSf '${url}' | psql -X -q -1 -v ON_ERROR_STOP=1 '${databaseUrl}' ${options}`];
}

/** Into the table itself, as in the manual's chapter on CSV; its batches are transactions of their own. */
export function pgloader(to: Target): string[] {
  return pgloaderLine(to, "public.trips");
}

/** It cannot upsert: as its author advises (dimitri/pgloader#280), into a work table, and from there by SQL. */
export function pgloaderByWorkTable(to: Target): string[] {
  const table = "public.incoming";
  return pgloaderLine(
    to,
    table,
    `before load do $$ create unlogged table ${table} (like public.trips) $$
    after load do $$ ${upsertFrom(table)} $$, $$ drop table ${table} $$`,
  );
}

function pgloaderLine({ url, databaseUrl, directory }: Target, table: string, around = ""): string[] {
  const path = `${directory}/pgloader.load`;
  Deno.writeTextFileSync(
    path,
    `load csv from ${url} having fields (${names})
    into ${databaseUrl.replace("postgres:", "postgresql:")} target table ${table} target columns (${names})
    with skip header = 1, fields optionally enclosed by '"', fields escaped by double-quote, fields terminated by ','
    ${around};`,
  );
  return ["shell", `pgloader --quiet --root-dir '${directory}' '${path}'`];
}
