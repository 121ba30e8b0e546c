/** What encoding bytes seem to be in that are no UTF-8. */

/** Its name, as etl.feeds.encoding takes it, for a line or a record; null where nothing is likely. `isFirst`: of the file. */
export function looksLike(bytes: Uint8Array, isFirst = false): string | null {
  if (bytes.includes(0)) return looksLikeUtf16(bytes, isFirst);
  // Some characters of UTF-8, some that are none: that is damage.
  if (/[^\0-\x7f\ufffd]/.test(new TextDecoder().decode(bytes))) return null;
  // Letters with a mark stand alone, or in twos, in the languages of windows-1252. Words of others are all beyond ASCII.
  let run = 0, longest = 0;
  for (const byte of bytes) {
    run = byte < 0x80 ? 0 : run + 1;
    longest = Math.max(longest, run);
    if (undefinedInWindows1252.has(byte)) return null;
  }
  return longest < 3 ? "windows-1252" : null;
}

const undefinedInWindows1252 = new Set([0x81, 0x8d, 0x8f, 0x90, 0x9d]);

/** By the NULs: in ASCII every other byte is one. A line behind a line end looks the same in both orders of bytes. */
function looksLikeUtf16(bytes: Uint8Array, isFirst: boolean): string | null {
  const nuls = [0, 0];
  bytes.forEach((byte, i) => nuls[i % 2] += Number(byte === 0));
  const [even, odd] = nuls;
  if (even + odd < 2 || Math.max(even, odd) <= bytes.length / 4 || Math.min(even, odd) > bytes.length / 16) return null;
  return odd > even ? "utf-16le" : isFirst ? "utf-16be" : "utf-16le or utf-16be";
}

/** The way out, as a sentence. */
export function askFor(encoding: string | null): string {
  return encoding
    ? `It looks like ${encoding}: say so in etl.feeds.encoding.`
    : "Ask the partner for its encoding, and say it in etl.feeds.encoding.";
}
