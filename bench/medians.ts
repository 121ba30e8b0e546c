/** Of several rounds. */
export interface Spread {
  median: number;
  lowest: number;
  highest: number;
}

export function spread(numbers: number[]): Spread {
  return { median: median(numbers), lowest: Math.min(...numbers), highest: Math.max(...numbers) };
}

export function median(numbers: number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b), middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
