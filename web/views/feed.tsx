/** One feed: its runs and what they changed, and its rejects. */
import { useContext, useState } from "preact/hooks";
import { ask, type RowOf } from "../api.ts";
import { exactMoment, moment, number } from "../format.ts";
import { useLoaded } from "../load.ts";
import { Chart } from "../parts/chart.tsx";
import { Growing } from "../parts/growing.tsx";
import { Icon } from "../parts/icons.tsx";
import { Shown } from "../parts/states.tsx";
import { type Column, Table } from "../parts/table.tsx";
import { Project } from "../project.ts";
import { change, link, type Route } from "../route.ts";
import { words } from "../words.ts";
import { Changes as Spoken, Facts, type Health, messageOf, Standing, useHealth } from "./feeds.tsx";
import { OtherRunChanges, RunChanges } from "./changes.tsx";

const said = words.feed;
type Run = RowOf<"feed_runs">;
type Reject = RowOf<"feed_rejects">;

export function Feed({ route }: { route: Route }) {
  const { feed } = route;
  const health = useHealth();
  const own = health.data?.filter((row) => row.feed === feed);
  const state = own?.[0];
  // What a run has changed is seen once health is another.
  const version = state
    ? [state.verdict, state.last_change, state.last_failure, state.open_rejects, state.attempt_is_latest].join(" ")
    : "";
  return (
    <>
      <div class="heading">
        <a class="back" {...link({ view: "feeds" })}>
          <Icon name="back" />
          {said.back}
        </a>
        <h1>{feed}</h1>
      </div>
      <Spoken feeds={own} />
      <Shown of={health} lines={3}>
        {() =>
          state
            ? (
              <section class="card">
                <Standing feed={state} />
                {messageOf(state) && <p class="message">{messageOf(state)}</p>}
                {state.hint && (
                  <p class="message">
                    {said.toDo} <code>{state.hint}</code>
                  </p>
                )}
                <Facts feed={state} />
              </section>
            )
            : <p class="card empty">{said.unknown}</p>}
      </Shown>
      {state && <Runs feed={feed} version={version} route={route} />}
      {state && <Rejects state={state} version={version} route={route} />}
    </>
  );
}

function Runs({ feed, version, route }: { feed: string; version: string; route: Route }) {
  const api = useContext(Project)!;
  const [most, setMost] = useState(20);
  // One more than is shown tells whether there are more.
  const runs = useLoaded(
    `${feed} ${version} ${most}`,
    (signal) => ask(api.rest.rpc("feed_runs", { of_feed: feed, at_most: most + 1 }).abortSignal(signal)),
  );
  const columns: Column<Run>[] = [
    {
      key: "started_at",
      label: said.columns.started_at,
      show: ({ started_at: at }) => <time dateTime={at} title={exactMoment(at)}>{moment(at)}</time>,
    },
    {
      key: "status",
      label: said.columns.status,
      show: ({ status, error, ignored_columns, changes_kept, run }) => (
        <>
          <span class={status === "failed" ? "tag bad" : status === "undone" ? "tag warn" : "tag"}>
            {said.status[status] ?? status}
          </span>
          {error && <p class="detail">{error}</p>}
          {ignored_columns.length > 0 && <p class="detail">{said.ignored(ignored_columns.join(", "))}</p>}
          {changes_kept && (
            <>
              {" "}
              <a {...link({ ...route, run })}>{said.showChanges}</a>
            </>
          )}
        </>
      ),
    },
    ...(["read", "inserted", "updated", "deleted", "rejected"] as const).map((key) => ({
      ...{ key, label: said.columns[key], numeric: true },
      show: (run: Run) => run[key] === 0 ? <span class="faint">0</span> : number(run[key]),
    })),
  ];
  return (
    <section class="card" aria-labelledby="runs">
      <h2 id="runs">{said.runs}</h2>
      <p class="faint">{said.runsLead}</p>
      <Shown of={runs} lines={8}>
        {(all) => {
          const rows = all.slice(0, most);
          const kinds = ["inserted", "updated", "deleted", "rejected"] as const;
          const bars = rows.toReversed().map((run) => ({
            tick: new Date(run.started_at).toLocaleDateString(undefined, { month: "short", day: "numeric" }),
            title: [
              moment(run.started_at),
              ...kinds.filter((kind) => run[kind] > 0).map((kind) => `${number(run[kind])} ${said.parts[kind]}`),
            ].join(", "),
            parts: kinds.map((kind) => run[kind]),
          }));
          const { run } = route;
          const open = rows.find((row) => row.run === run);
          const opened = { feed, run, close: () => change({ run: "" }), undone: runs.reload };
          return (
            <>
              {rows.length === 0 ? <p class="empty">{said.noRuns}</p> : (
                <>
                  <Chart caption={said.chart} bars={bars} kinds={kinds.map((kind) => said.parts[kind])} />
                  <Table caption={said.runs} columns={columns} rows={rows} idOf={({ run }) => run} />
                </>
              )}
              {all.length > most && (
                <p class="foot">
                  <button type="button" onClick={() => setMost(most + 20)}>{words.table.more}</button>
                </p>
              )}
              {open
                ? <RunChanges {...opened} began={open.started_at} />
                : run && <OtherRunChanges key={run} {...opened} />}
            </>
          );
        }}
      </Shown>
    </section>
  );
}

/** Verdicts of a feed whose newest file is loaded. */
const loaded = ["ok", "stale", "shrunk", "drifted"];

function Rejects({ state, version, route }: { state: Health; version: string; route: Route }) {
  const api = useContext(Project)!;
  const { feed } = state;
  const letter = state.has_letter && <Letter feed={feed} version={version} />;
  const counts = useLoaded(
    `${feed} ${version}`,
    (signal) => ask(api.rest.rpc("feed_reject_counts", { of_feed: feed }).abortSignal(signal)),
  );
  return (
    <section class="card" aria-labelledby="rejects">
      <h2 id="rejects">{said.rejects}</h2>
      <Shown of={counts} lines={5}>
        {(counts) => {
          const attempted = counts.filter((count) => count.attempted), waiting = counts.filter((c) => !c.attempted);
          const isKnown = attempted.length > 0 ? state.attempt_is_latest : loaded.includes(state.verdict);
          const isLoaded = state.last_change !== null || state.records !== null;
          if (counts.length === 0) {
            return (
              <>
                <div class={isKnown ? "empty" : "empty warn"}>
                  <Icon name={isKnown ? "ok" : "warn"} />
                  <p>{isKnown ? said.noRejects : isLoaded ? said.noneWaits : said.neverLoaded}</p>
                  {!isKnown && <p>{said.notKnown}</p>}
                </div>
                {letter}
              </>
            );
          }
          const kept = total(attempted), { attempted_rejects: all, attempted_is_least: isLeast } = state;
          const kind = kindOf(route);
          return (
            <>
              {!isKnown && <p>{said.notKnown}</p>}
              <ul class="reasons">
                <li>
                  <a {...link({ ...route, ...noKind })} aria-current={kind ? undefined : "true"}>
                    <span>{said.allReasons}</span> <b>{number(total(counts))}</b>
                  </a>
                </li>
              </ul>
              {attempted.length > 0 && (
                <div class="kinds">
                  <p>
                    {state.attempt_is_latest ? said.attempt : said.earlierAttempt}
                    {all !== null && (all > kept || isLeast) && ` ${said.sample(kept, all, isLeast)}`}
                  </p>
                  <Kinds counts={attempted} route={route} />
                </div>
              )}
              {waiting.length > 0 && (
                <div class="kinds">
                  {attempted.length > 0 && <p>{said.before}</p>}
                  <Kinds counts={waiting} route={route} />
                </div>
              )}
              {letter}
              <RejectList key={JSON.stringify([feed, kind])} feed={feed} kind={kind} version={version} />
            </>
          );
        }}
      </Shown>
    </section>
  );
}

type Count = RowOf<"feed_reject_counts">;
const total = (counts: Count[]) => counts.reduce((sum, { rejects }) => sum + rejects, 0);

/** What a row of the counts is of, as a call names it, and in the URL. */
interface Kind {
  of_reason: string;
  of_source?: string;
  of_attempt: boolean;
}

const noKind = { reason: "", source: "", attempt: "" };
const kindOf = ({ reason, source, attempt }: Route): Kind | undefined =>
  reason ? { of_reason: reason, ...(source && { of_source: source }), of_attempt: attempt === "yes" } : undefined;

function Kinds({ counts, route }: { counts: Count[]; route: Route }) {
  const chosen = JSON.stringify(kindOf(route));
  return (
    <ul class="reasons">
      {counts.map(({ attempted, reason, source, problem, mend, rejects }) => {
        const of = { ...route, reason, source: source ?? "", attempt: attempted ? "yes" : "" };
        // Two rules of one column are told apart by what they ask for.
        const isTwice = counts.filter((other) => other.source === source && other.problem === problem).length > 1;
        return (
          <li key={`${source} ${reason}`}>
            <a {...link(of)} aria-current={JSON.stringify(kindOf(of)) === chosen ? "true" : undefined}>
              <span>{said.fault(source, problem)}{isTwice && `. ${mend}`}</span> <b>{number(rejects)}</b>
            </a>
          </li>
        );
      })}
    </ul>
  );
}

function RejectList({ feed, kind, version }: { feed: string; kind: Kind | undefined; version: string }) {
  const api = useContext(Project)!;
  return (
    <Growing<Reject>
      of={version}
      size={20}
      lines={8}
      next={(last, at_most, signal) => {
        const after = last &&
          { after_attempted: last.attempted, after_number: last.record_number, after_id: last.id };
        return ask(api.rest.rpc("feed_rejects", { of_feed: feed, ...kind, ...after, at_most }).abortSignal(signal));
      }}
    >
      {(rejects) =>
        rejects.length === 0 ? <p class="empty">{said.noneSuch}</p> : (
          <ol class="rejects">
            {rejects.map((reject) => (
              <li key={`${reject.attempted} ${reject.id}`}>
                <RejectedRecord reject={reject} />
              </li>
            ))}
          </ol>
        )}
    </Growing>
  );
}

interface Fault {
  source: string | null;
  value: string | null;
  problem: string;
  mend: string;
}

function RejectedRecord({ reject: { attempted, record_number, since, faults, record, raw } }: { reject: Reject }) {
  return (
    <article>
      <p>
        <strong>{said.record(record_number)}</strong>{" "}
        <time class="faint" dateTime={since} title={exactMoment(since)}>{said.since(moment(since))}</time>
        {attempted && (
          <>
            {" "}
            <span class="tag bad">{said.attempted}</span>
          </>
        )}
      </p>
      <ul class="faults">
        {(faults as unknown as Fault[]).map(({ source, value, problem, mend }) => (
          <li key={`${source} ${problem}`}>
            {said.fault(source, problem)}
            {value !== null && (
              <>
                : <q>{value}</q>
              </>
            )}
            <span class="mend">{mend}</span>
          </li>
        ))}
      </ul>
      <details>
        <summary>{said.whole}</summary>
        <pre tabIndex={0}><code>{record === null ? raw : JSON.stringify(record, null, 2)}</code></pre>
      </details>
    </article>
  );
}

/** What to write to the partner, and a link for them to look for themselves. Neither is made before somebody asks. */
function Letter({ feed, version }: { feed: string; version: string }) {
  const [open, setOpen] = useState(false);
  return (
    <details class="letter" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>{said.letter}</summary>
      {open && <LetterText feed={feed} version={version} />}
    </details>
  );
}

function LetterText({ feed, version }: { feed: string; version: string }) {
  const api = useContext(Project)!;
  const [copied, setCopied] = useState("");
  const [shared, setShared] = useState<string>();
  const [error, setError] = useState("");
  const letter = useLoaded(
    `${feed} ${version}`,
    (signal) => ask(api.rest.rpc("feed_letter", { of_feed: feed }).abortSignal(signal)),
  );
  const copy = async (text: string) => {
    await navigator.clipboard.writeText(text);
    setCopied(said.copied);
  };
  const share = async () => {
    setError("");
    try {
      const function_url = `${api.config.url}/functions/v1/etl`;
      setShared(await ask(api.rest.rpc("share_rejects", { of_feed: feed, function_url })));
    } catch (error) {
      setError((error as Error).message);
    }
  };
  return (
    <Shown of={letter} lines={8}>
      {(text) => (
        <>
          <p class="faint">{said.letterLead}</p>
          <pre tabIndex={0}>{text}</pre>
          <div class="buttons">
            <span role="status">{copied}</span>
            <button type="button" onClick={() => copy(text)}>{said.copy}</button>
            {!shared && <button type="button" onClick={share}>{said.share}</button>}
          </div>
          <p class="faint">{said.shareLead}</p>
          {shared && (
            <p class="shared">
              <input
                type="text"
                readOnly
                value={shared}
                aria-label={said.link}
                onFocus={(event) => event.currentTarget.select()}
              />
              <button type="button" onClick={() => copy(shared)}>{said.copyLink}</button>
            </p>
          )}
          <p class="wrong" role="alert">{error}</p>
        </>
      )}
    </Shown>
  );
}
