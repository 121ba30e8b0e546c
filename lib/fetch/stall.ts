/**
 * Ends a request when nothing has come for too long, or not all after a long time. To the first limit, time in which we do
 * not ask for more does not count.
 */
import { EtlError } from "../errors.ts";

export class StallClock {
  #abort = new AbortController();
  #waitingSince = 0;
  #giveUp: ((stalled: EtlError) => void) | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  signal = this.#abort.signal;

  #startedAt = Date.now();

  constructor(private readonly limitMs: number, private readonly totalMs: number, private readonly place: string) {}

  /** From here to `stop` one timer serves all waits; one for each chunk would cost more than the chunk. */
  start(): void {
    this.#timer ??= setInterval(() => {
      const stalled = Date.now() - this.#waitingSince >= this.limitMs;
      if (!this.#giveUp || !(stalled || Date.now() - this.#startedAt >= this.totalMs)) return;
      const hint = "The partner's server hangs or is slow: try again later, or ask the partner.";
      const error = stalled
        ? new EtlError("stalled", `${this.place} sent nothing for ${this.limitMs / 1000} s`, hint)
        : new EtlError("too_slow", `${this.place} had not sent all after ${this.totalMs / 1000} s`, hint);
      // The wait is given up here, not by the signal alone: an aborted fetch may leave a read of its body waiting for ever.
      this.#giveUp(error);
      this.#abort.abort();
    }, this.limitMs / 4);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  async during<T>(wait: () => Promise<T>): Promise<T> {
    const alone = this.#timer === undefined;
    if (alone) this.start();
    this.#waitingSince = Date.now();
    try {
      return await new Promise<T>((resolve, reject) => {
        this.#giveUp = reject;
        wait().then(resolve, reject);
      });
    } finally {
      this.#giveUp = null;
      if (alone) this.stop();
    }
  }
}
