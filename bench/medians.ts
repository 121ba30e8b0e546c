/** Everything is measured in rounds, whose order turns with each; what counts is the median. */
export function* turns<T>(all: T[], rounds: number): Generator<[round: number, one: T]> {
  for (let round = 1; round <= rounds; round++) {
    for (const one of round % 2 ? all : all.toReversed()) yield [round, one];
  }
}

/** Of several rounds. */
export interface Spread {
  median: number;
  lowest: number;
  highest: number;
}

export function spread(numbers: number[]): Spread {
  return { median: median(numbers), lowest: Math.min(...numbers), highest: Math.max(...numbers) };
}

/** A cell for the median, and one for the range. */
export function cells({ median, lowest, highest }: Spread): string[] {
  return [median.toFixed(0), `${lowest.toFixed(0)}–${highest.toFixed(0)}`];
}

export function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
