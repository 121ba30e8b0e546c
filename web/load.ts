/** What a view shows while and after it asks. */
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { Failure } from "./api.ts";

export interface Loaded<Data> {
  /** The last that came; while the next is under way, or where it failed, the one before. */
  data: Data | undefined;
  error: Failure | undefined;
  busy: boolean;
  /** Whether the data is what is asked for now, and not the one before. */
  isCurrent: boolean;
  reload(): void;
}

/** Asks anew whenever `key` changes; an answer that is overtaken is dropped, and its request given up. */
export function useLoaded<Data>(key: string, load: (signal: AbortSignal) => Promise<Data>): Loaded<Data> {
  const [state, set] = useState<{ data?: Data; of?: string; error?: Failure; busy: boolean }>({ busy: true });
  const [turn, setTurn] = useState(0);
  const latest = useRef(load);
  latest.current = load;
  useEffect(() => {
    const end = new AbortController();
    set(({ data, of }) => ({ data, of, busy: true }));
    latest.current(end.signal).then(
      (data) => !end.signal.aborted && set({ data, of: key, busy: false }),
      (error) => {
        if (end.signal.aborted) return;
        const failure = error instanceof Failure ? error : new Failure("other", `${error.message ?? error}`);
        set(({ data, of }) => ({ data, of, error: failure, busy: false }));
      },
    );
    return () => end.abort();
  }, [key, turn]);
  const reload = useCallback(() => setTurn((turn) => turn + 1), []);
  // Back online, or somebody asks for it: what could not be had then may be had now.
  useEffect(() => {
    if (!state.error) return;
    if (state.error.kind === "offline" && navigator.onLine) return reload();
    for (const event of ["online", "retry"]) addEventListener(event, reload);
    return () => ["online", "retry"].forEach((event) => removeEventListener(event, reload));
  }, [state.error]);
  return { data: state.data, error: state.error, busy: state.busy, isCurrent: state.of === key, reload };
}

/** Calls it every so often while somebody looks, and as soon as somebody looks again. */
export function useEvery(ms: number, call: () => void): void {
  useEffect(() => {
    const look = () => document.visibilityState === "visible" && call();
    const timer = setInterval(look, ms);
    document.addEventListener("visibilitychange", look);
    return () => {
      clearInterval(timer);
      document.removeEventListener("visibilitychange", look);
    };
  }, [ms, call]);
}
