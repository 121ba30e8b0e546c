/** What both reports have above their tables: search and export. */
import { useEffect, useRef, useState } from "preact/hooks";
import { save } from "../csv.ts";
import { change } from "../route.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";

export function Search({ value }: { value: string }) {
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  const input = useRef<HTMLInputElement>(null);
  // The URL has changed by other means, as going back.
  useEffect(() => {
    if (document.activeElement !== input.current) input.current!.value = value;
  }, [value]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = () => change({ search: input.current!.value.trim(), page: "" }, { replace: true });
  return (
    <form
      class="search"
      role="search"
      onSubmit={(event) => {
        event.preventDefault();
        clearTimeout(timer.current);
        search();
      }}
    >
      <Icon name="search" />
      <input
        ref={input}
        type="search"
        defaultValue={value}
        aria-label={words.search.label}
        placeholder={words.search.hint}
        onInput={() => {
          clearTimeout(timer.current);
          timer.current = setTimeout(search, 300);
        }}
      />
    </form>
  );
}

/** `pages` gives the rows, up to 1,000 at a time, as long as it is not told to stop. */
export function Export({ file, columns, all, pages }: {
  file: string;
  columns: string[];
  all: number;
  pages: (signal: AbortSignal) => AsyncGenerator<Record<string, unknown>[]>;
}) {
  const [done, setDone] = useState<number>();
  const [said, say] = useState("");
  const end = useRef<AbortController>(undefined);
  useEffect(() => () => end.current?.abort(), []);
  const start = async () => {
    const { signal } = end.current = new AbortController();
    let rows = 0;
    setDone(0);
    say("");
    async function* counted() {
      for await (const page of pages(signal)) {
        signal.throwIfAborted();
        setDone(rows += page.length);
        yield page;
      }
    }
    try {
      await save(`${file}-${new Date().toISOString().slice(0, 10)}.csv`, columns, counted());
      say(words.export.done(rows));
    } catch (error) {
      if (!signal.aborted) say(words.export.failed + (error as Error).message);
    }
    setDone(undefined);
  };
  return (
    <div class="export">
      <span role="status">{done === undefined ? said : words.export.progress(done, all)}</span>
      {done === undefined
        ? (
          <button type="button" onClick={start} disabled={all === 0}>
            <Icon name="export" />
            {words.export.start}
          </button>
        )
        : <button type="button" onClick={() => end.current!.abort()}>{words.export.cancel}</button>}
    </div>
  );
}
