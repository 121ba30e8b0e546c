/** A list that grows by a button. */
import { useEffect, useState } from "preact/hooks";
import { useLoaded } from "../load.ts";
import { words } from "../words.ts";
import { Shown } from "./states.tsx";

export function Growing<Row>({ of, size, lines, next, children }: {
  /** What the list is of; that of another begins anew. */
  of: string;
  /** By how many rows it grows. */
  size: number;
  lines: number;
  /** The rows after `last`, from the first where there is none. */
  next: (last: Row | undefined, at_most: number, signal: AbortSignal) => Promise<Row[]>;
  children: (rows: Row[]) => preact.ComponentChildren;
}) {
  const [before, setBefore] = useState<Row[]>([]);
  useEffect(() => setBefore([]), [of]);
  // One more than is shown tells whether there are more.
  const loaded = useLoaded(
    `${of} ${before.length}`,
    async (signal) => ({ before, next: await next(before.at(-1), size + 1, signal) }),
  );
  return (
    <Shown of={loaded} lines={lines}>
      {({ before, next }) => {
        const rows = [...before, ...next.slice(0, size)];
        return (
          <>
            {children(rows)}
            {next.length > size && (
              <p class="foot">
                <button type="button" onClick={() => setBefore(rows)}>{words.table.more}</button>
              </p>
            )}
          </>
        );
      }}
    </Shown>
  );
}
