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

/** Round by round, for what makes a whole round slow says nothing. Both in the order of the rounds. */
export function ratios(numbers: number[], base: number[]): Spread {
  return spread(numbers.map((number, round) => number / base[round]));
}

/** A cell for the median, and one for the range; both empty where nothing was measured. */
export function cells(spread: Spread | null, digits = 0): string[] {
  if (!spread) return ["", ""];
  const [median, lowest, highest] = [spread.median, spread.lowest, spread.highest].map((one) => one.toFixed(digits));
  return [median, `${lowest}–${highest}`];
}

export function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
