/** The frame: who is here, where, and what is shown to them. */
import type { Session } from "@supabase/auth-js";
import { useEffect, useRef, useState } from "preact/hooks";
import { type Api, connect, readConfig, refusals } from "./api.ts";
import { setCurrency } from "./format.ts";
import { Icon, type IconName } from "./parts/icons.tsx";
import { Skeleton } from "./parts/states.tsx";
import { Project } from "./project.ts";
import { link, type Route, useRoute } from "./route.ts";
import { ChurnedDrivers } from "./views/churned.tsx";
import { Feed } from "./views/feed.tsx";
import { Feeds } from "./views/feeds.tsx";
import { SignIn } from "./views/signin.tsx";
import { Stranger } from "./views/stranger.tsx";
import { Trips } from "./views/trips.tsx";
import { words } from "./words.ts";

const views: Record<string, (props: { route: Route }) => preact.ComponentChildren> = {
  trips: Trips,
  churned: ChurnedDrivers,
  feeds: Feeds,
  feed: Feed,
};
const tabs = ["trips", "churned", "feeds"] as const;

export function App() {
  const [api, setApi] = useState<Api>();
  const [broken, setBroken] = useState(false);
  const [session, setSession] = useState<Session | null>();
  const [ended, setEnded] = useState(false);
  const [stranger, setStranger] = useState(false);

  useEffect(() => {
    readConfig().then(
      (config) => {
        setCurrency(config.currency ?? "USD");
        setApi(connect(config));
      },
      () => setBroken(true),
    );
  }, []);
  useEffect(() => {
    if (!api) return;
    let asked = false;
    const { data: { subscription } } = api.auth.onAuthStateChange((event, session) => {
      setSession((before) => {
        // It ended by itself; and at the start, one was remembered that is none any more.
        if (session) setEnded(false);
        else if (!asked && (before || (event === "INITIAL_SESSION" && api.remembered))) setEnded(true);
        if (session) asked = false;
        // A token that is new is no reason to draw anew.
        return before && session && before.user.id === session.user.id ? before : session;
      });
      setStranger(false);
    });
    const refused = (event: Event) => {
      const kind = (event as CustomEvent<string>).detail;
      if (kind === "stranger") setStranger(true);
      else if (kind === "expired") api.auth.signOut({ scope: "local" });
      else asked = true;
    };
    refusals.addEventListener("refused", refused);
    return () => {
      subscription.unsubscribe();
      refusals.removeEventListener("refused", refused);
    };
  }, [api]);

  const route = useRoute();
  const view = views[route.view] ? route.view : "trips";
  if (broken) {
    return (
      <main class="alone">
        <p class="notice bad" role="alert">{words.errors.config}</p>
      </main>
    );
  }
  if (!api || session === undefined) {
    return (
      <main class="alone">
        <Skeleton lines={3} />
      </main>
    );
  }
  if (!session) return <SignIn api={api} ended={ended} />;
  const signOut = () => {
    refusals.dispatchEvent(new CustomEvent("refused", { detail: "asked" }));
    api.auth.signOut({ scope: "local" });
  };
  const View = views[view];
  return (
    <Project.Provider value={api}>
      <a class="skip" href="#content">{words.skip}</a>
      <header>
        <a class="brand" {...link({})}>
          <img src="icon.svg" alt="" width="28" height="28" />
          {words.title}
        </a>
        <nav aria-label={words.nav.label}>
          {tabs.map((tab) => (
            <a
              key={tab}
              {...link({ view: tab })}
              aria-current={view === tab || (view === "feed" && tab === "feeds") ? "page" : undefined}
            >
              <Icon name={tab as IconName} />
              <span class="long">{words.nav[tab]}</span>
              <span class="short" aria-hidden="true">{words.shortNav[tab]}</span>
            </a>
          ))}
        </nav>
        <div class="who">
          <span title={`${words.signedInAs} ${session.user.email}`}>{session.user.email}</span>
          <button type="button" class="plain" onClick={signOut} title={words.signOut}>
            <Icon name="out" />
            <span>{words.signOut}</span>
          </button>
        </div>
      </header>
      <Offline />
      <Main key={`${view} ${route.feed ?? ""}`}>
        {stranger
          ? <Stranger email={session.user.email ?? ""} again={() => setStranger(false)} />
          : <View route={route} />}
      </Main>
    </Project.Provider>
  );
}

let isFirst = true;

/** Another view takes the focus, so that a screen reader begins there; the first one does not. */
function Main({ children }: { children: preact.ComponentChildren }) {
  const main = useRef<HTMLElement>(null);
  useEffect(() => {
    document.title = `${main.current!.querySelector("h1")?.textContent ?? ""} · ${words.title}`;
    if (!isFirst) main.current!.focus({ preventScroll: true });
    isFirst = false;
  }, []);
  return <main id="content" tabIndex={-1} ref={main}>{children}</main>;
}

function Offline() {
  const [online, set] = useState(navigator.onLine);
  useEffect(() => {
    const look = () => set(navigator.onLine);
    addEventListener("online", look);
    addEventListener("offline", look);
    return () => {
      removeEventListener("online", look);
      removeEventListener("offline", look);
    };
  }, []);
  return <div role="status">{!online && <p class="banner">{words.errors.offline}</p>}</div>;
}
