/** What a report rests on: how old it is, what waits, and whether it may mislead. */
import { useContext } from "preact/hooks";
import { ask, type RowOf } from "../api.ts";
import { Project } from "../project.ts";
import { ago, exactMoment } from "../format.ts";
import { useLoaded } from "../load.ts";
import { link } from "../route.ts";
import { words } from "../words.ts";
import { Icon } from "./icons.tsx";
import { lookOf, Verdict } from "./verdict.tsx";

type Feed = RowOf<"report_freshness">;

/** Of all feeds that the reports rest on, but for the one that this report does not. */
export function useFreshness(without: string) {
  const api = useContext(Project)!;
  return useLoaded(without, async (signal) => {
    const rows = await ask(api.rest.rpc("report_freshness").abortSignal(signal));
    return rows.filter(({ feed }) => feed !== without);
  });
}

export const misleads = (feeds: Feed[] | undefined) => feeds?.some(({ verdict }) => lookOf(verdict) !== "ok") ?? false;

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
