/** Keeps what is said on standard error from the terminal until the end of the block; `said` holds its lines. */
export function hush(): { said: string[] } & Disposable {
  const said: string[] = [];
  const { error } = console;
  console.error = (...parts: unknown[]) => said.push(parts.join(" "));
  return { said, [Symbol.dispose]: () => void (console.error = error) };
}
