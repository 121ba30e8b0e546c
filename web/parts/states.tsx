/** What stands where the data is not: while it loads, and where it cannot be had. */
import type { Failure } from "../api.ts";
import type { Loaded } from "../load.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

export function Failed({ failure, again }: { failure: Failure; again: () => void }) {
  return (
    <div class="notice bad" role="alert">
      <Icon name="warn" />
      <div>
        <strong>{words.errors.heading}</strong>
        <p>{failure.message}</p>
        <button type="button" onClick={again}>{words.errors.again}</button>
      </div>
    </div>
  );
}

export function Skeleton({ lines }: { lines: number }) {
  return (
    <div class="skeleton" role="status">
      <span class="unseen">{words.loading}</span>
      {Array.from({ length: lines }, (_, line) => <span key={line} class="bone" />)}
    </div>
  );
}

/** The data once it is there; it stays while the next is under way, and where that fails. */
export function Shown<Data>({ of: { data, error, busy, reload }, lines = 4, children }: {
  of: Loaded<Data>;
  lines?: number;
  children: (data: Data) => preact.ComponentChildren;
}) {
  return (
    <>
      {error && <Failed failure={error} again={reload} />}
      {data !== undefined
        ? <div class="shown" aria-busy={busy}>{children(data)}</div>
        : !error && <Skeleton lines={lines} />}
    </>
  );
}
