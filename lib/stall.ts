/** Ends a request when nothing has come for too long. Time in which we do not ask for more does not count. */
import { EtlError } from "./errors.ts";

export class StallClock {
  #abort = new AbortController();
  #waitingSince = 0;
  #giveUp: ((stalled: EtlError) => void) | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  signal = this.#abort.signal;

  constructor(private readonly limitMs: number, private readonly place: string) {}

  /** From here to `stop` one timer serves all waits; one for each chunk would cost more than the chunk. */
  start(): void {
    this.#timer ??= setInterval(() => {
      if (!this.#giveUp || Date.now() - this.#waitingSince < this.limitMs) return;
      const message = `${this.place} sent nothing for ${this.limitMs / 1000} s`;
      // The wait is given up here, not by the signal alone: an aborted fetch may leave a read of its body waiting for ever.
      this.#giveUp(
        new EtlError("stalled", message, "The partner's server hangs: try again later, or ask the partner."),
      );
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
