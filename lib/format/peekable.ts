import { EtlError } from "../errors.ts";

/** A stream of bytes whose beginning can be looked at before it is read. */
export class Peekable implements AsyncIterable<Uint8Array> {
  #first: Uint8Array = new Uint8Array(0);
  #source: AsyncIterator<Uint8Array>;

  /**
   * `hasEnd`: whether it says itself where it ends, as what is packed does, so that it throws where it is cut short. `readAs`:
   * the encoding from which it was turned into UTF-8, and who says that it is in it.
   */
  constructor(chunks: AsyncIterable<Uint8Array>, readonly hasEnd = false, readonly readAs: string | null = null) {
    this.#source = chunks[Symbol.asyncIterator]();
  }

  /** The bytes so far, once they are `enough` or the stream has ended. */
  async peek(enough: (first: Uint8Array) => boolean): Promise<Uint8Array> {
    while (!enough(this.#first)) {
      const { done, value } = await this.#source.next();
      if (done) break;
      this.#first = concat([this.#first, value]);
    }
    return this.#first;
  }

  skip(bytes: number): void {
    this.#first = this.#first.slice(bytes);
  }

  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () => {
        if (this.#first.length === 0) return this.#source.next();
        const value = this.#first;
        this.#first = new Uint8Array(0);
        return Promise.resolve({ done: false, value });
      },
      return: async () => await this.#source.return?.() ?? { done: true, value: undefined },
    };
  }
}

export function concat(pieces: Uint8Array[]): Uint8Array {
  if (pieces.length === 1) return pieces[0];
  const whole = new Uint8Array(pieces.reduce((size, piece) => size + piece.length, 0));
  let end = 0;
  for (const piece of pieces) {
    whole.set(piece, end);
    end += piece.length;
  }
  return whole;
}

export function isVisible(byte: number): boolean {
  return byte > 0x20 || byte < 0x09;
}

/** What the stream itself throws becomes this EtlError; what came from upstream stays. */
export function named(
  stream: AsyncIterable<Uint8Array>,
  code: string,
  message: string,
  hint: string,
  hasEnd: boolean,
): Peekable {
  const chunks = async function* () {
    try {
      yield* stream;
    } catch (cause) {
      throw cause instanceof EtlError ? cause : new EtlError(code, message, hint, { cause });
    }
  };
  return new Peekable(chunks(), hasEnd);
}
