/** What a report rests on: how old it is, what waits, and whether it may mislead. */
import { useContext } from "preact/hooks";
import { ask, type RowOf } from "../api.ts";
import { Project } from "../project.ts";
import { ago, exactMoment } from "../format.ts";
import { useLoaded } from "../load.ts";
import { link, type Route } from "../route.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";
import { lookOf, Verdict } from "./verdict.tsx";

type Feed = RowOf<"report_freshness">;
type Table = "drivers" | "trips" | "charges";

/** Of the feeds of these tables. */
export function useFreshness(...tables: Table[]) {
  const api = useContext(Project)!;
  return useLoaded(tables.join(), async (signal) => {
    const feeds = await ask(api.rest.rpc("report_freshness").abortSignal(signal));
    return feeds.filter(({ target }) => tables.some((table) => isOf(table, target)));
  });
}

/** Where rejected charges are: at their feed, or at all feeds where several have some. */
export function whereRejected(feeds: Feed[] | undefined): Route {
  const having = feeds?.filter(({ target, open_rejects }) => isOf("charges", target) && open_rejects > 0) ?? [];
  return having.length === 1 ? { view: "feed", feed: having[0].feed } : { view: "feeds" };
}

const isOf = (table: Table, target: string) => target === `public.${table}`;

export const misleads = (feeds: Feed[] | undefined) => feeds?.some(({ verdict }) => lookOf(verdict) !== "ok") ?? false;

/** Whether all that a report rests on is as it should be; undefined until it is known. */
export const isWell = (feeds: Feed[] | undefined) => feeds && feeds.length > 0 && !misleads(feeds);

export function Freshness({ feeds }: { feeds: Feed[] }) {
  const bad = feeds.filter(({ verdict }) => lookOf(verdict) !== "ok");
  return (
    <div class={bad.length > 0 ? "freshness warn" : "freshness"}>
      {bad.length > 0 && (
        <p class="said">
          <strong>
            <Icon name="warn" />
            {words.freshness.bad}
          </strong>
          {bad.map(({ feed, verdict }) => (
            <a key={feed} {...link({ view: "feed", feed })}>
              {feed}: <Verdict verdict={verdict} />
            </a>
          ))}
        </p>
      )}
      <p>
        {feeds.map(({ feed, last_change, open_rejects }) => (
          <span key={feed} class="fact">
            {last_change
              ? (
                <time dateTime={last_change} title={exactMoment(last_change)}>
                  {words.freshness.changed(feed, ago(last_change))}
                </time>
              )
              : words.freshness.never(feed)}
            {open_rejects > 0 && (
              <>
                ; <a {...link({ view: "feed", feed })}>{words.freshness.waiting(open_rejects, feed)}</a>
              </>
            )}
          </span>
        ))}
      </p>
    </div>
  );
}
