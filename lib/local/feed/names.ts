/** Names in a file -> names of columns. */

/** A table has these of its own. */
const taken = ["ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"];

/**
 * Distinct names in snake_case and ASCII; null for a column without a name, or with that of another, which no run loads.
 * `others`: names that the table has besides.
 */
export function columnNames(sources: string[], others: string[] = []): (string | null)[] {
  const names = new Set<string>([...taken, ...others]);
  return sources.map((source, i) => {
    if (source.trim() === "" || sources.some((other, j) => other === source && j !== i)) return null;
    const wanted = snakeCase(source) || `column_${i + 1}`;
    let name = wanted;
    for (let n = 2; names.has(name); n++) name = `${wanted}_${n}`;
    names.add(name);
    return name;
  });
}

function snakeCase(source: string): string {
  if (/^[a-z_][a-z0-9_]{0,59}$/.test(source)) return source;
  return source.normalize("NFKD").replaceAll(/\p{M}/gu, "").replaceAll("ß", "ss")
    .replaceAll(/([a-z0-9])([A-Z])/g, "$1_$2").replaceAll(/([A-Z])([A-Z][a-z])/g, "$1_$2").toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_").replaceAll(/^_+|_+$/g, "").replace(/^(?=\d)/, "_").slice(0, 60);
}
