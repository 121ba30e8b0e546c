/** What stands where the data is not: while it loads, and where it cannot be had. */
import type { Failure } from "../api.ts";
import type { Loaded } from "../load.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

/** What one part meets all parts meet, where it is the server or the network: it is said once, and tried again at once. */
export function Failed({ failure }: { failure: Failure }) {
  const everywhere = failure.kind === "offline" || failure.kind === "unreachable";
  return (
    <div class={everywhere ? "notice bad everywhere" : "notice bad"} role="alert">
      <Icon name="warn" />
      <div>
        <strong>{words.errors.heading}</strong>
        <p>{failure.message}</p>
        <button type="button" onClick={() => dispatchEvent(new Event("retry"))}>{words.errors.again}</button>
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
export function Shown<Data>({ of: { data, error, busy }, lines = 4, children }: {
  of: Loaded<Data>;
  lines?: number;
  children: (data: Data) => preact.ComponentChildren;
}) {
  return (
    <>
      {error && <Failed failure={error} />}
      {data !== undefined
        ? <div class="shown" aria-busy={busy}>{children(data)}</div>
        : !error && <Skeleton lines={lines} />}
    </>
  );
}
