/** The project: who is signed in, and what the database answers. */
import { AuthClient, type Session } from "@supabase/auth-js";
import { PostgrestClient } from "@supabase/postgrest-js";
import type { Database } from "../supabase/database.types.ts";
import type { Period } from "./days.ts";
import { words } from "./words.ts";

/** config.json, beside the page. */
export interface Config {
  /** The project's, as https://abcdefghijklmnopqrst.supabase.co; empty: the page's own host. */
  url: string;
  key: string;
  /** ISO 4217, of fares and gratuities. */
  currency?: string;
  /** Of trips without charges, what is shown where the URL names none; the last month, if nothing is said. */
  period?: Period;
  /** What the sign-in is filled in with, on a developer's machine. */
  sign_in?: { email: string; password: string };
}

export async function readConfig(): Promise<Config> {
  const response = await fetch("config.json", { cache: "no-cache" });
  if (!response.ok) throw new Error(`config.json: ${response.status}`);
  const config: Config = await response.json();
  return { ...config, url: config.url || location.origin };
}

export class Failure extends Error {
  constructor(readonly kind: "offline" | "unreachable" | "slow" | "expired" | "stranger" | "other", message: string) {
    super(message);
  }
}

export interface Api {
  config: Config;
  auth: InstanceType<typeof AuthClient>;
  /** Whether the browser had kept a session, before anybody looked whether it is one still. */
  remembered: boolean;
  rest: PostgrestClient<Database>;
}

/** Tells the frame that an answer ends all views: expired, or stranger. */
export const refusals = new EventTarget();

export function connect(config: Config): Api {
  const storageKey = `trip-reports ${config.url}`;
  const remembered = localStorage.getItem(storageKey) !== null;
  const auth = new AuthClient({
    url: `${config.url}/auth/v1`,
    headers: { apikey: config.key },
    storageKey,
    // A link in an e-mail is often opened in another browser than the one that asked for it.
    flowType: "implicit",
  });
  const asUser: typeof fetch = async (input, init) => {
    const ask = (session: Session | null) => {
      const headers = new Headers(init?.headers);
      if (session) headers.set("authorization", `Bearer ${session.access_token}`);
      return fetch(input, { ...init, headers });
    };
    const response = await ask((await auth.getSession()).data.session);
    if (response.status !== 401) return response;
    // Refused in spite of what it says of its time: a new one, or none.
    const { data } = await auth.refreshSession();
    if (!data.session) return response;
    return await ask(data.session);
  };
  const rest = new PostgrestClient<Database>(`${config.url}/rest/v1`, {
    headers: { apikey: config.key },
    fetch: asUser,
  });
  return { config, auth, rest, remembered };
}

interface Answer<Row> {
  data: Row | null;
  error: { message: string; code?: string } | null;
  status: number;
}

/** The data of an answer; whatever else it is, is thrown as a Failure. */
export async function ask<Row>(query: PromiseLike<Answer<Row>>): Promise<Row> {
  const { data, error, status } = await query;
  if (!error) return data as Row;
  if (status === 0) {
    throw navigator.onLine
      ? new Failure("unreachable", words.errors.unreachable)
      : new Failure("offline", words.errors.offline);
  }
  if (status === 401) throw refused(new Failure("expired", words.signIn.expired));
  if (status === 403) throw refused(new Failure("stranger", error.message));
  if (status === 504 || error.code === "57014") throw new Failure("slow", words.errors.slow);
  if (status >= 502 && status <= 503) throw new Failure("unreachable", words.errors.unreachable);
  throw new Failure("other", words.errors.other(error.message));
}

function refused(failure: Failure): Failure {
  refusals.dispatchEvent(new CustomEvent("refused", { detail: failure.kind }));
  return failure;
}

type Functions = Database["public"]["Functions"];
export type RowOf<Name extends keyof Functions> = Functions[Name]["Returns"] extends (infer Row)[] ? Row : never;
