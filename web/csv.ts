/** CSV for spreadsheets, and a file of it from pages that are fetched one after the other. */

/** A cell that a spreadsheet takes for text: never for a formula (OWASP, CSV Injection). Numbers stay numbers. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  if (typeof value === "number" || typeof value === "boolean") return `${value}`;
  const text = /^[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]/.test(`${value}`) ? `'${value}` : `${value}`;
  return `"${text.replaceAll('"', '""')}"`;
}

/** The lines of a page, in bytes. */
export function lines(columns: string[], rows: Record<string, unknown>[]): Uint8Array<ArrayBuffer> {
  const text = rows.map((row) => columns.map((column) => cell(row[column])).join(",") + "\r\n").join("");
  return new TextEncoder().encode(text);
}

/** Has the browser save the pages as one file. They go to it as they come, and it keeps them where it likes. */
export async function save(
  file: string,
  columns: string[],
  pages: AsyncIterable<Record<string, unknown>[]>,
): Promise<void> {
  const iterator = pages[Symbol.asyncIterator]();
  let failure: unknown;
  // The mark tells spreadsheets that it is UTF-8.
  const heading = `\ufeff${columns.join(",")}\r\n`;
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start: (controller) => controller.enqueue(new TextEncoder().encode(heading)),
    async pull(controller) {
      try {
        const { done, value } = await iterator.next();
        if (done) controller.close();
        else controller.enqueue(lines(columns, value));
      } catch (error) {
        failure = error;
        throw error;
      }
    },
  });
  const response = new Response(stream, { headers: { "content-type": "text/csv;charset=utf-8" } });
  // What made a stream break off the browser does not say.
  const blob = await response.blob().catch((error) => Promise.reject(failure ?? error));
  const url = URL.createObjectURL(blob);
  const anchor = Object.assign(document.createElement("a"), { href: url, download: file });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
