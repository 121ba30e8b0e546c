/** What encoding bytes seem to be in that are no UTF-8. */

/** The name of an encoding, as etl.feeds.encoding takes it; null where nothing is likely. */
export function looksLike(bytes: Uint8Array): string | null {
  if (bytes.includes(0)) return looksLikeUtf16(bytes);
  // Letters with a mark stand alone in the languages of windows-1252; those of others are all beyond ASCII.
  let run = 0, longest = 0;
  for (const byte of bytes) {
    run = byte < 0x80 ? 0 : run + 1;
    longest = Math.max(longest, run);
    if (undefinedInWindows1252.includes(byte)) return null;
  }
  return longest > 0 && longest < 3 ? "windows-1252" : null;
}

const undefinedInWindows1252 = [0x81, 0x8d, 0x8f, 0x90, 0x9d];

/** By where the NULs are: in ASCII every other byte is one. Which of the two depends on where the bytes were cut. */
function looksLikeUtf16(bytes: Uint8Array): string | null {
  const nuls = [0, 0];
  bytes.forEach((byte, i) => nuls[i % 2] += Number(byte === 0));
  const [even, odd] = nuls, half = bytes.length / 2;
  if (odd > even * 4 && odd > half / 2) return "utf-16le";
  return even > odd * 4 && even > half / 2 ? "utf-16be" : null;
}
