/** Waiting: until it is so, or no longer than it may take. */

/** Waits until `condition` gives something true, and returns it; else fails with what was waited for. */
export async function until<T>(
  what: string | (() => string),
  condition: () => Promise<T> | T,
  seconds = 20,
): Promise<NonNullable<T>> {
  const deadline = Date.now() + seconds * 1000;
  while (true) {
    const result = await condition();
    if (result) return result;
    if (Date.now() > deadline) {
      throw new Error(`waited ${seconds} s until ${typeof what === "string" ? what : what()}`);
    }
    await new Promise((resume) => setTimeout(resume, 10));
  }
}

/** A hang is a failure. */
export async function within<T>(seconds: number, what: string, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`${what} hangs: nothing after ${seconds} s`)), seconds * 1000);
  return await Promise.race([work, late.promise]).finally(() => clearTimeout(timer));
}

/**
 * Waits until a process says what `pattern` looks for, and returns the match. Its log is read on to the end, so that
 * the pipe never fills; each part also goes to `also`.
 */
export function says(
  log: ReadableStream<string>,
  pattern: RegExp,
  also: (text: string) => unknown = () => {},
): Promise<RegExpExecArray> {
  const { promise, resolve, reject } = Promise.withResolvers<RegExpExecArray>();
  const read = async () => {
    let said = "";
    for await (const text of log) {
      said = (said + text).slice(-20_000);
      const match = pattern.exec(said);
      if (match) resolve(match);
      await also(text);
    }
    throw new Error(`it ended before it said ${pattern}: ${said}`);
  };
  read().catch(reject);
  return promise;
}
