/** What a run changed, old beside new; and the way to take it back. */
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { ask, type RowOf } from "../api.ts";
import { moment } from "../format.ts";
import { useLoaded } from "../load.ts";
import { Growing } from "../parts/growing.tsx";
import { Shown } from "../parts/states.tsx";
import { Project } from "../project.ts";
import { words } from "../words.ts";

const said = words.changes;
type Change = RowOf<"feed_changes">;
type Row = Record<string, string | null>;

interface Opened {
  feed: string;
  run: string;
  close: () => void;
  undone: () => void;
}

/** Of a run that is not among those that are loaded: an older one, one that the ledger has forgotten, or none. */
export function OtherRunChanges(opened: Opened) {
  const api = useContext(Project)!;
  const { feed, run } = opened;
  // The database takes nothing else for a run.
  const isRun = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i.test(run);
  const found = useLoaded(
    `${feed} ${run}`,
    async (signal) =>
      isRun ? await ask(api.rest.rpc("feed_runs", { of_feed: feed, of_run: run }).abortSignal(signal)) : [],
  );
  if (!isRun) return <p class="empty">{said.none}</p>;
  return <Shown of={found} lines={6}>{([row]) => <RunChanges {...opened} began={row?.started_at} />}</Shown>;
}

/** `began`: undefined where the ledger has forgotten it. */
export function RunChanges({ feed, run, began, close, undone }: Opened & { began: string | undefined }) {
  const api = useContext(Project)!;
  const [asking, setAsking] = useState(false);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current!.focus(), [run]);
  return (
    <section class="changes" aria-labelledby="changes">
      <div class="top">
        <h3 id="changes" tabIndex={-1} ref={heading}>{began ? said.heading(moment(began)) : said.headingOfUnknown}</h3>
        <button type="button" onClick={close}>{said.close}</button>
      </div>
      <Growing<Change>
        of={run}
        size={50}
        lines={6}
        next={(last, at_most, signal) => {
          const args = { of_run: run, of_feed: feed, after_number: last?.number ?? 0, at_most };
          return ask(api.rest.rpc("feed_changes", args).abortSignal(signal));
        }}
      >
        {(changes) =>
          changes.length === 0 ? <p class="empty">{said.none}</p> : (
            <>
              <p>
                <button type="button" onClick={() => setAsking(true)}>{said.undo}</button>
              </p>
              <ol class="rejects">
                {changes.map((change) => (
                  <li key={change.number}>
                    <ChangedRow change={change} />
                  </li>
                ))}
              </ol>
            </>
          )}
      </Growing>
      {asking && <Undo feed={feed} run={run} close={() => setAsking(false)} undone={undone} />}
    </section>
  );
}

function ChangedRow({ change }: { change: Change }) {
  const before = change.before as Row, after = change.after as Row;
  const kind = change.change as "inserted" | "updated" | "deleted";
  const shown = (value: string | null | undefined) => value ?? <span class="faint">{said.empty}</span>;
  return (
    <article>
      <p>
        <span class={kind === "deleted" ? "tag bad" : kind === "updated" ? "tag warn" : "tag"}>{said[kind]}</span>{" "}
        <strong>{Object.values(change.key as Row).join(", ")}</strong>
      </p>
      <table class="values">
        <thead>
          <tr>
            <th scope="col">{said.column}</th>
            <th scope="col">{said.old}</th>
            <th scope="col">{said.new}</th>
          </tr>
        </thead>
        <tbody>
          {[...new Set([...Object.keys(before), ...Object.keys(after)])].map((column) => (
            <tr key={column}>
              <th scope="row">{column}</th>
              <td>{shown(before[column])}</td>
              <td>{shown(after[column])}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </article>
  );
}

function Undo({ feed, run, close, undone }: { feed: string; run: string; close: () => void; undone: () => void }) {
  const api = useContext(Project)!;
  const dialog = useRef<HTMLDialogElement>(null);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  useEffect(() => dialog.current!.showModal(), []);
  // It is done and taken back at once, so that what is said here is what will be.
  const trial = useLoaded(
    run,
    (signal) => ask(api.rest.rpc("undo_run", { of_run: run, of_feed: feed }).abortSignal(signal)),
  );
  const outcomes = (trial.data ?? []).filter(({ outcome }) => outcome in words.undo.does);
  const does = outcomes.some(({ outcome }) => ["deleted", "put back", "inserted again"].includes(outcome));
  const undo = async () => {
    setBusy(true);
    try {
      await ask(api.rest.rpc("undo_run", { of_run: run, of_feed: feed, is_trial: false }));
      close();
      undone();
    } catch (error) {
      setError((error as Error).message);
      setBusy(false);
    }
  };
  return (
    <dialog ref={dialog} aria-labelledby="undo" onClose={close}>
      <h3 id="undo">{words.undo.heading}</h3>
      {trial.data === undefined && !trial.error && <p role="status">{words.undo.finding}</p>}
      {trial.error && <p class="wrong" role="alert">{trial.error.message}</p>}
      {trial.data && (does
        ? (
          <>
            <p>{words.undo.lead}</p>
            <ul>
              {outcomes.map(({ outcome, records, reason }) => (
                <li key={`${outcome} ${reason}`}>
                  {words.undo.does[outcome](records)}
                  {outcome === "kept" && reason && <span class="faint">: {reason}</span>}
                </li>
              ))}
              <li>{words.undo.disabled(feed)}</li>
            </ul>
          </>
        )
        : <p>{words.undo.nothing}</p>)}
      <p class="wrong" role="alert">{error}</p>
      <div class="buttons">
        <button type="button" onClick={() => dialog.current!.close()}>{words.undo.no}</button>
        {does && <button type="button" class="danger" onClick={undo} disabled={busy}>{words.undo.yes}</button>}
      </div>
    </dialog>
  );
}
