/** What a run has time and room for, and whose turn it is. */
import { EtlError } from "./errors.ts";
import type { Allowance } from "./limits.ts";

export class Room implements Disposable {
  #over = new AbortController();
  /** Bytes of the feeds that are kept, and of the latest. */
  #staged = 0;
  #latest = 0;
  #timer: ReturnType<typeof setTimeout>;
  #endsAt: number;
  #end: () => void;

  /** `ending`: aborted, with a reason in words, when the process is about to be ended. */
  constructor(private readonly allowance: Allowance, private readonly ending?: AbortSignal) {
    const { deadlineMs } = allowance;
    this.#endsAt = Date.now() + deadlineMs;
    this.#timer = setTimeout(() => this.#over.abort(`${deadlineMs / 1000} s have passed`), deadlineMs);
    this.#end = () => this.#over.abort(ending!.reason);
    if (ending?.aborted) this.#end();
    ending?.addEventListener("abort", this.#end);
  }

  get deadlineMs(): number {
    return this.allowance.deadlineMs;
  }

  /** Milliseconds. */
  get timeLeft(): number {
    return this.#endsAt - Date.now();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.ending?.removeEventListener("abort", this.#end);
  }

  /** Aborted, with the reason in words, when nothing more is to be fetched. */
  get over(): AbortSignal {
    return this.#over.signal;
  }

  /** Whether a body of so many bytes would fill it alone. */
  isFilledBy(bytes: number): boolean {
    return bytes > this.allowance.bytes;
  }

  /** Throws where there is no time for another feed, or no room for so many bytes; for the first one, and for none, there always is. */
  require(bytes: number): void {
    const hint = "Nothing is lost: a later run takes it. Where that is put off each time, run the feed alone.";
    if (this.over.aborted) throw new EtlError("deferred", `the time of the run was up: ${this.over.reason}`, hint);
    if (bytes === 0 || this.#staged === 0 || this.#staged + bytes <= this.allowance.bytes) return;
    const megabytes = Math.round(this.#staged / 1e6);
    throw new EtlError("deferred", `the run has ${megabytes} MB of other feeds, and no room for it`, hint);
  }

  /** The chunks, counted. */
  async *fill(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
    this.#latest = 0;
    for await (const chunk of chunks) {
      this.#latest += chunk.length;
      if (!this.over.aborted) this.require(this.#latest);
      yield chunk;
    }
  }

  /** What was filled in last stays. Of what is found unchanged there is nothing more to do, and its room is free again. */
  keep(): void {
    this.#staged += this.#latest;
  }
}

export interface Turn {
  name: string;
  /** The feeds whose tables it refers to. */
  parents: string[];
  /** A text: the least of them comes first. */
  turn: string;
}

/**
 * The leader first, then by their turn, each behind its parents: for without their new rows it has orphans. Each list is
 * a feed with those that come along for its sake.
 */
export function inTurn<T extends { feed: Turn }>(all: T[], leader: string | null): T[][] {
  const taken = new Set<T>();
  const take = (one: T): T[] => {
    if (taken.has(one)) return [];
    taken.add(one);
    return [...all.filter((other) => one.feed.parents.includes(other.feed.name)).flatMap(take), one];
  };
  const turn = ({ feed }: T) => feed.name === leader ? "" : feed.turn;
  return all.toSorted((a, b) => turn(a) < turn(b) ? -1 : turn(a) > turn(b) ? 1 : 0).map(take);
}
