/** JSON Pointers (RFC 6901): where in a document something stands, as in /data/trips. */

/** The names on the way, outermost first; a place in an array is a name of digits. */
export function namesOf(pointer: string): string[] {
  return pointer.split("/").slice(1).map((name) => name.replaceAll("~1", "/").replaceAll("~0", "~"));
}

export function pointerOf(names: string[]): string {
  return names.map((name) => `/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
}

/** The statement that has a feed take its records from there. */
export function recordsFrom(pointer: string, feed: string): string {
  return `update etl.feeds set records = ${literal(pointer)} where name = ${literal(feed)}`;
}

function literal(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}
