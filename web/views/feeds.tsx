/** All feeds, and how each is. It looks again by itself. */
import { useContext, useEffect, useRef, useState } from "preact/hooks";
import { ask, type RowOf } from "../api.ts";
import { ago, exactMoment, number } from "../format.ts";
import { type Loaded, useEvery, useLoaded } from "../load.ts";
import { Icon } from "../parts/icons.tsx";
import { Shown } from "../parts/states.tsx";
import { lookOf, Verdict } from "../parts/verdict.tsx";
import { Project } from "../project.ts";
import { link } from "../route.ts";
import { words } from "../words.ts";

const said = words.feeds;
export type Health = RowOf<"feed_health">;

export function useHealth(): Loaded<Health[]> {
  const api = useContext(Project)!;
  const health = useLoaded("health", (signal) => ask(api.rest.rpc("feed_health").abortSignal(signal)));
  useEvery(15_000, health.reload);
  return health;
}

export function Feeds() {
  const health = useHealth();
  return (
    <>
      <div class="heading">
        <h1>{said.heading}</h1>
        <p>{said.lead}</p>
      </div>
      <Changes feeds={health.data} />
      <Shown of={health} lines={5}>
        {(feeds) =>
          feeds.length === 0
            ? (
              <div class="card empty">
                <p>{said.empty}</p>
              </div>
            )
            : <List feeds={feeds} />}
      </Shown>
    </>
  );
}

/** Says aloud what has changed since the last look. */
export function Changes({ feeds }: { feeds: Health[] | undefined }) {
  const before = useRef(new Map<string, string>());
  const [text, say] = useState("");
  useEffect(() => {
    if (!feeds) return;
    const changed = feeds.filter(({ feed, verdict }) => {
      const known = before.current.get(feed);
      return known !== undefined && known !== verdict;
    });
    if (changed.length > 0) {
      say(changed.map(({ feed, verdict }) => said.changed(feed, words.verdicts[verdict] ?? verdict)).join(". "));
    }
    before.current = new Map(feeds.map(({ feed, verdict }) => [feed, verdict]));
  }, [feeds]);
  return <p class="unseen" role="status">{text}</p>;
}

function List({ feeds }: { feeds: Health[] }) {
  const off = feeds.filter(({ verdict }) => lookOf(verdict) === "off").length;
  const well = feeds.filter(({ verdict }) => lookOf(verdict) === "ok").length;
  const bad = feeds.length - off - well;
  const sign = bad > 0 ? "warn" : well === 0 ? "off" : "ok";
  return (
    <>
      <p class={`sum ${sign}`}>
        <Icon name={sign} />
        {bad > 0 ? said.needCare(bad) : off > 0 ? said.restWell(well, off) : said.allWell(well)}
      </p>
      <ul class="feeds">
        {feeds.map((feed) => (
          <li key={feed.feed} class="card">
            <div class="top">
              <h2>
                <a {...link({ view: "feed", feed: feed.feed })}>{feed.feed}</a>
              </h2>
              <Standing feed={feed} />
            </div>
            {messageOf(feed) && <p class="message">{messageOf(feed)}</p>}
            <Facts feed={feed} />
          </li>
        ))}
      </ul>
    </>
  );
}

/** Why a feed is not fine; that it has no schedule stands with its next run. */
export const messageOf = ({ verdict, message }: Health) =>
  verdict === "ok" ? "" : message.replace(/(\. )?No schedule: see etl\.schedule\(\)$/, "");

export function Standing({ feed: { verdict, since } }: { feed: Health }) {
  return (
    <span class="standing">
      <Verdict verdict={verdict} />
      {since && <time class="faint" dateTime={since} title={exactMoment(since)}>{said.since(ago(since))}</time>}
    </span>
  );
}

export function Facts({ feed }: { feed: Health }) {
  const at = (time: string | null, otherwise: string) =>
    time ? <time dateTime={time} title={exactMoment(time)}>{ago(time)}</time> : otherwise;
  return (
    <dl class="facts">
      <div>
        <dt>{said.lastChange}</dt>
        <dd>{at(feed.last_change, said.never)}</dd>
      </div>
      <div>
        <dt>{said.nextRun}</dt>
        <dd>{at(feed.next_run, said.noSchedule)}</dd>
      </div>
      <div>
        <dt>{said.records}</dt>
        <dd>
          {feed.records === null ? "–" : number(feed.records)}
          {feed.usual_records !== null && feed.usual_records !== feed.records && (
            <span class="faint">{said.usual(feed.usual_records)}</span>
          )}
        </dd>
      </div>
      <div>
        <dt>{said.rejects}</dt>
        <dd class={feed.open_rejects > 0 ? "some" : undefined}>
          {number(feed.open_rejects)}
          {feed.attempted_rejects !== null && (
            <span class="some">{said.attempted(feed.attempted_rejects, feed.attempted_is_least)}</span>
          )}
        </dd>
      </div>
    </dl>
  );
}
