/** Ends a request when nothing has come for too long. Time in which we do not ask for more does not count. */
import { EtlError } from "./errors.ts";

export class StallClock {
  #abort = new AbortController();
  #waitingSince: number | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  #stalled = false;
  signal = this.#abort.signal;

  constructor(private readonly limitMs: number, private readonly place: string) {}

  /** From here to `stop` one timer serves all waits; one for each chunk would cost more than the chunk. */
  start(): void {
    this.#timer ??= setInterval(() => {
      if (this.#waitingSince === null || Date.now() - this.#waitingSince < this.limitMs) return;
      this.#stalled = true;
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
      return await wait();
    } catch (cause) {
      if (!this.#stalled) throw cause;
      const message = `${this.place} sent nothing for ${this.limitMs / 1000} s`;
      throw new EtlError("stalled", message, "The partner's server hangs: try again later, or ask the partner.", {
        cause,
      });
    } finally {
      this.#waitingSince = null;
      if (alone) this.stop();
    }
  }
}
