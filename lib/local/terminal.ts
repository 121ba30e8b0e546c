/** The one place by which a command's words come to the terminal: no value or name of a partner's moves it. */

/** A sign for each character that would, or that turns the direction of a line; tab and line feed stay. */
export function visible(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex
    /[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g,
    (sign) => sign < " " ? String.fromCharCode(0x2400 + sign.charCodeAt(0)) : sign === "\x7f" ? "␡" : "�",
  );
}

/** The same of JSON, in which each such character has an escape, so that nothing is lost. */
export function escaped(json: string): string {
  return json.replace(
    /[\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g,
    (sign) => `\\u${sign.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A value as a line of JSON. */
export function jsonLine(value: unknown): string {
  return escaped(JSON.stringify(value));
}

/**
 * From here on all that this process says is visible: each message and table, and whatever is added later. Where nobody
 * reads on, as after `| head`, it goes nowhere; some versions of Deno make an error of it.
 */
export function guardTerminal(): void {
  for (const way of ["log", "error", "warn"] as const) {
    const say = console[way];
    console[way] = (...words: unknown[]) => {
      try {
        say(...words.map((word) => typeof word === "string" ? visible(word) : word));
      } catch (error) {
        if (!(error instanceof Deno.errors.BrokenPipe)) throw error;
      }
    };
  }
}
