/**
 * Ends a request when nothing has come for too long, too little, or when the run's time is up. To the first two, time in
 * which we do not ask for more does not count.
 */
import { EtlError } from "../errors.ts";
import type { Patience } from "../limits.ts";

export class StallClock {
  #abort = new AbortController();
  #waitingSince = 0;
  #giveUp: ((reason: EtlError) => void) | null = null;
  #timer: ReturnType<typeof setInterval> | undefined;
  /** Milliseconds that were waited for how many bytes, since it was last looked at. */
  #waitedMs = 0;
  #received = 0;
  signal = this.#abort.signal;

  /** `over`: aborted when the run's time is up. */
  constructor(
    private readonly patience: Pick<Patience, "stallMs" | "slowest">,
    private readonly place: string,
    private over?: AbortSignal,
  ) {}

  /** From here to `stop` one timer serves all waits; one for each chunk would cost more than the chunk. */
  start(): void {
    this.#waitedMs = this.#received = 0;
    this.#timer ??= setInterval(() => this.#look(), this.patience.stallMs / 4);
    this.over?.addEventListener("abort", this.#end);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.over?.removeEventListener("abort", this.#end);
  }

  /** All is there but its end: the run's time no longer matters. */
  hasAll(): void {
    this.over?.removeEventListener("abort", this.#end);
    this.over = undefined;
  }

  async during<T>(wait: () => Promise<T>): Promise<T> {
    if (this.over?.aborted) throw this.#late();
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
      this.#waitedMs += Date.now() - this.#waitingSince;
      if (alone) this.stop();
    }
  }

  received(bytes: number): void {
    this.#received += bytes;
  }

  #look(): void {
    if (!this.#giveUp) return;
    const { stallMs, slowest } = this.patience;
    const hint = "The partner's server hangs or is slow: try again later, or ask the partner.";
    const waitingMs = Date.now() - this.#waitingSince;
    if (waitingMs >= stallMs) {
      return this.#stop(new EtlError("stalled", `${this.place} sent nothing for ${stallMs / 1000} s`, hint));
    }
    const waitedMs = this.#waitedMs + waitingMs;
    if (waitedMs < stallMs) return;
    if (this.#received < slowest * waitedMs / 1000) {
      const seconds = Math.round(waitedMs / 100) / 10;
      return this.#stop(new EtlError("too_slow", `${this.place} sent ${this.#received} bytes in ${seconds} s`, hint));
    }
    this.#waitedMs = -waitingMs;
    this.#received = 0;
  }

  #end = () => this.#stop(this.#late());

  #late(): EtlError {
    const message = `${this.place} had not sent all when the time of the run was up: ${this.over!.reason}`;
    return new EtlError("too_slow", message, "Give the run a later deadline, or load the feed alone.");
  }

  /** The wait is given up here, not by the signal alone: an aborted fetch may leave a read of its body waiting for ever. */
  #stop(reason: EtlError): void {
    this.#giveUp?.(reason);
    this.#abort.abort();
  }
}
