/** Where the reader is: all of it in the query of the URL, so that any static host serves a deep link. */
import { useEffect, useState } from "preact/hooks";

export type Route = Record<string, string>;

/** What a link in an e-mail brings, which is not for the address bar. */
const foreign = ["code", "error", "error_code", "error_description"];

export function current(): Route {
  const route = Object.fromEntries(new URLSearchParams(location.search));
  for (const name of foreign) delete route[name];
  return route;
}

/** The URL of a route; what is empty is left out. */
export function urlOf(route: Record<string, string | undefined>): string {
  const given = Object.entries(route).filter((entry): entry is [string, string] => !!entry[1]);
  return given.length === 0 ? location.pathname : `?${new URLSearchParams(given)}`;
}

const listeners = new Set<() => void>();

/** Goes there; `replace` where going back should not come here. */
export function go(route: Record<string, string | undefined>, { replace = false } = {}): void {
  history[replace ? "replaceState" : "pushState"](null, "", urlOf(route));
  for (const listener of listeners) listener();
}

/** Changes a part of the route. */
export function change(part: Record<string, string | undefined>, options?: { replace: boolean }): void {
  go({ ...current(), ...part }, options);
}

export function useRoute(): Route {
  const [route, set] = useState(current);
  useEffect(() => {
    const listener = () => set(current());
    listeners.add(listener);
    addEventListener("popstate", listener);
    return () => {
      listeners.delete(listener);
      removeEventListener("popstate", listener);
    };
  }, []);
  return route;
}

/** The attributes of a link within the page. */
export function link(route: Record<string, string | undefined>) {
  return {
    href: urlOf(route),
    onClick: (event: MouseEvent) => {
      if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      event.preventDefault();
      go(route);
      scrollTo(0, 0);
    },
  };
}
