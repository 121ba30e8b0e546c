// @ts-nocheck: this is AssemblyScript; `deno task scan` compiles it into binary.ts.
// deno-lint-ignore-file
/**
 * Finds where records end, and the records that COPY would stumble over; and takes the checksum of all bytes.
 *
 * The scan looks at 64 bytes at a time: each question ("which are quotes?") is answered by a word of 64 bits, the first
 * byte's the lowest, and the rest is arithmetic on such words. So of a line of CSV, with ~ for the line feeds and the
 * lowest bit at the left:
 *
 *     bytes       7,"a,~""b",9~
 *     quotes      ..1...11.1...   find
 *     delimiters  .1..1.....1..   find
 *     newlines    .....1......1   find
 *     quoted      ..1111.11....   parity(quotes): an odd number of quotes up to here
 *     separators  .1........1.1   (delimiters | newlines) & ~quoted: two delimiters and a newline, so three fields
 *     closing     ......1..1...   quotes & ~quoted: the first half of "" as well, which opens again at once
 *     opening     ..1....1.....   quotes & quoted
 *     may open    1.1....1..11.   (separators | closing) << 1, and the first byte: no opening quote is elsewhere
 *
 * A record with a bad byte, as a quote elsewhere, is read again by the byte: readRecord() tells what is wrong, if anything.
 *
 * Both scans begin at the start of a record and stop at the first one that needs attention, or (`more`) where the bytes
 * end within one: then they want that record again, and more bytes.
 */

/** Why a scan stopped. */
export const more = 0, blank = 1, otherLineEnd = 2, wrongFields = 3, strayQuote = 4, textAfterQuote = 5;
export const strayLineEnd = 6, notText = 7, endOfData = 8, badControl = 9, tooDeep = 10, respelled = 11;

/**
 * The record at which it stopped; all before it is in order. `recordEnd` is behind its line end. Where it was `respelled`
 * it begins at `recordEnd`, and the scan goes on from there: also where nothing but a byte order mark was before it.
 */
export let recordStart: usize = 0;
export let recordEnd: usize = 0;
/** How many fields that record has; how many lines there are, where it is the first of several with nothing in them. */
export let fields: u32 = 0;
export let blanks: f64 = 0;
/** Records in order since the module was made. */
export let records: f64 = 0;
/** Whether the JSON array has been closed. */
export let arrayClosed: bool = false;

/** Where memory is free: the caller puts its bytes there, with 64 more to spare behind them. */
export function base(): usize {
  return (__heap_base + 63) & ~63;
}

const tab: u32 = 0x09, lineFeed: u32 = 0x0a, carriageReturn: u32 = 0x0d, space: u32 = 0x20, quote: u32 = 0x22;
const comma: u32 = 0x2c, openBracket: u32 = 0x5b, backslash: u32 = 0x5c, closeBracket: u32 = 0x5d;
const openBrace: u32 = 0x7b, closeBrace: u32 = 0x7d;
/** "\." on a line of its own is the end of the data to COPY. */
const endMark: u16 = 0x2e5c;

// CSV

let delimiter: u32 = comma;
let columns: u32 = 1;
/** A record with a delimiter between any two fields, and shorter than this, may have nothing in it. */
let maybeNothing: usize = 0;
let newline: u32 = lineFeed;
let isTwoBytes: bool = false;
const none: u32 = 256;
let enclosure: u32 = quote;
/** What stands before a quote within quotes in place of another quote; no byte where nothing does. */
let escape: u32 = none;
/** Where the record ends that has just been respelled. */
let respelledEnd: usize = 0;

/** How the CSV is written: its lines end with `lastByte`, and with "\r" before it where `twoBytes`; an escape of 0 is none. */
export function describe(
  fieldDelimiter: u32,
  columnCount: u32,
  lastByte: u32,
  twoBytes: bool,
  fieldQuote: u32,
  quoteEscape: u32,
): void {
  delimiter = fieldDelimiter;
  columns = columnCount;
  maybeNothing = columns === 1 ? <usize> -1 : columns;
  newline = lastByte;
  isTwoBytes = twoBytes;
  enclosure = fieldQuote;
  escape = quoteEscape === 0 ? none : quoteEscape;
}

export function scanCsv(from: usize, end: usize): u32 {
  const other = newline === lineFeed ? carriageReturn : lineFeed;
  const hasEscape = escape !== none;
  // What each block hands to the next: is it within quotes? Was the last byte a closing quote, an "\r", a place before
  // which a field begins?
  let inside: u64 = 0, afterClosing: u64 = 0, afterReturn: u64 = 0, atField: u64 = 1;
  let suspect = false;
  const escapesFrom = respelledEnd;
  respelledEnd = 0;
  recordStart = from;
  fields = 1;
  memory.fill(end, <u8> space, 64);
  for (let block = from; block < end; block += 64) {
    const a = v128.load(block), b = v128.load(block, 16), c = v128.load(block, 32), d = v128.load(block, 48);
    const odd = mayBeNoText(a, b, c, d);
    suspect = suspect || odd;
    const quotes = find(a, b, c, d, enclosure), others = find(a, b, c, d, other);
    let delimiters = find(a, b, c, d, delimiter), newlines = find(a, b, c, d, newline);
    let bad: u64 = 0, closing: u64 = 0;
    if ((quotes | others | inside | afterClosing | afterReturn) !== 0) {
      const quoted = parity(quotes) ^ inside;
      delimiters &= ~quoted;
      newlines &= ~quoted;
      closing = quotes & ~quoted;
      const returns = others & ~quoted;
      bad = quotes & quoted & ~((delimiters | newlines | closing) << 1 | atField);
      bad |= (closing << 1 | afterClosing) & ~(delimiters | newlines | quotes | returns);
      bad |= newline === lineFeed ? (returns << 1 | afterReturn) & ~newlines : returns;
      inside = 0 - (quoted >> 63);
      afterClosing = closing >> 63;
      afterReturn = newline === lineFeed ? returns >> 63 : 0;
    }
    // With an escape a closing quote may be none: each such record is read by the byte.
    if (hasEscape && block + 64 > escapesFrom) {
      const escapes = find(a, b, c, d, escape);
      bad |= block < escapesFrom ? escapes & ((<u64> -1) << (escapesFrom - block)) : escapes;
    }
    if (end - block < 64) bad &= (1 << (end - block)) - 1;
    atField = (delimiters | newlines | closing) >> 63;

    for (; newlines !== 0; newlines &= newlines - 1) {
      const upToHere = newlines ^ (newlines - 1);
      if ((bad & upToHere) !== 0) break;
      fields += <u32> popcnt(delimiters & upToHere);
      delimiters &= ~upToHere;
      const fault = endLine(block + <usize> ctz(newlines), suspect, end);
      if (fault !== more) return fault;
      suspect = odd;
    }
    if (bad !== 0) return readRecord(end);
    fields += <u32> popcnt(delimiters);
  }
  return suspect && isMarked() ? skipMark() : more;
}

function endLine(at: usize, suspect: bool, end: usize): u32 {
  recordEnd = at + 1;
  const twoBytes = newline === lineFeed && at > recordStart && load<u8>(at - 1) === carriageReturn;
  const length = at - recordStart - <usize> twoBytes;
  if (length < maybeNothing || fields !== columns) {
    const fault = faultOfShape(length, suspect, end);
    if (fault !== more) return fault;
  }
  if (suspect) {
    if (isMarked()) return skipMark();
    if (!isText(recordStart, at)) return notText;
  }
  if (length === 2 && load<u16>(recordStart) === endMark) return endOfData;
  if (twoBytes !== isTwoBytes) return otherLineEnd;
  recordStart = recordEnd;
  fields = 1;
  records++;
  return more;
}

/** What is odd about a record that is as short, or has another number of fields than it should; `more` where nothing is. */
function faultOfShape(length: usize, suspect: bool, end: usize): u32 {
  if (length === 0) return skipBlanks(end);
  if (hasNothing(length) && !(fields === columns && isFollowed(end))) return skipSame(end);
  if (fields === columns) return more;
  if (suspect && isMarked()) return skipMark();
  return fields > columns && load<u8>(recordStart + length - 1) === delimiter ? readRecord(end) : wrongFields;
}

/** Takes the blank lines that follow as well: a call for each of millions would be dear. */
function skipBlanks(end: usize): u32 {
  for (blanks = 1;; blanks++) {
    let at = recordEnd;
    while (newline === lineFeed && at < end && load<u8>(at) === carriageReturn) at++;
    if (at >= end || load<u8>(at) !== newline) break;
    recordEnd = at + 1;
  }
  return blank;
}

/**
 * Whether a record of this length has nothing in any of its fields, or not as many fields as it should have and in them
 * nothing but blanks and control characters, as ^Z. A single field has nothing, too, if it has only these.
 */
function hasNothing(length: usize): bool {
  if (fields === columns && length >= maybeNothing) return false;
  for (let i = recordStart; i < recordStart + length; i++) {
    const byte: u32 = load<u8>(i);
    if ((byte > space && byte !== delimiter) || byte === enclosure) return false;
  }
  return true;
}

/** Whether the next line is here, and has something in it, as its first byte tells: so this one is not at the end. */
function isFollowed(end: usize): bool {
  const byte: u32 = recordEnd < end ? load<u8>(recordEnd) : space;
  return byte > space && byte < 0x80 && byte !== delimiter;
}

/** Takes the lines that follow as well, if they are the same: a spreadsheet may end with a million of them. */
function skipSame(end: usize): u32 {
  const length = recordEnd - recordStart;
  for (blanks = 1; recordEnd + length <= end; blanks++) {
    if (memory.compare(recordStart, recordEnd, length) !== 0) break;
    recordEnd += length;
  }
  return blank;
}

/** Whether a byte order mark stands before the record: at the seam of two files. */
function isMarked(): bool {
  return (load<u32>(recordStart) & 0xffffff) === 0xbfbbef;
}

/** The record begins behind it. */
function skipMark(): u32 {
  recordEnd = recordStart + 3;
  return respelled;
}

/**
 * Reads a record by the byte that is not spelled as COPY takes it. Where its meaning is plain, it is `respelled` in place:
 * without blanks between a quote and a delimiter, a second "\r" before its line end, or empty fields too many at its end, and
 * with its quotes doubled. Tells what is wrong with it otherwise.
 */
function readRecord(end: usize): u32 {
  if (isMarked()) return skipMark();
  const fault = readFields(end, false);
  if (fault === strayQuote || fault === textAfterQuote || fault === strayLineEnd) return faultOfLine(fault, end);
  if (fault !== respelled) return fault;
  const recordLimit = recordEnd;
  readFields(end, true);
  const length = written - recordStart;
  memory.copy(recordLimit - length, recordStart, length);
  recordEnd = recordLimit - length;
  respelledEnd = recordLimit;
  return respelled;
}

/** Where the next byte goes that readFields writes: never beyond the one that it reads. */
let written: usize = 0;

function write(byte: u32, isWriting: bool): void {
  if (isWriting) store<u8>(written, <u8> byte);
  written++;
}

function readFields(end: usize, isWriting: bool): u32 {
  let at = recordStart;
  // How many of the last fields are empty.
  let empty: u32 = 0;
  written = recordStart;
  fields = 1;
  for (;;) {
    const start = at;
    at = afterBlanks(at, end);
    const isQuoted = at < end && load<u8>(at) === enclosure;
    if (isQuoted) {
      write(enclosure, isWriting);
      for (at++;;) {
        if (at + 1 >= end) return more;
        const byte: u32 = load<u8>(at++), next: u32 = load<u8>(at);
        if (byte === enclosure && next !== enclosure) break;
        const isPair = byte === enclosure || (byte === escape && (next === enclosure || next === escape));
        // An escape before a quote is a quote, too; one before another escape is none.
        if (isPair) at++;
        if (isPair && next === enclosure) write(enclosure, isWriting);
        write(isPair ? next : byte, isWriting);
      }
      write(enclosure, isWriting);
      at = afterBlanks(at, end);
    } else {
      for (at = start; at < end; at++) {
        const byte: u32 = load<u8>(at);
        if (byte === delimiter || byte === lineFeed || byte === carriageReturn) break;
        if (byte === enclosure) return strayQuote;
        write(byte, isWriting);
      }
    }
    empty = at === start ? empty + 1 : 0;
    let lineEnd = at;
    while (newline === lineFeed && lineEnd < end && load<u8>(lineEnd) === carriageReturn) lineEnd++;
    if (lineEnd >= end) return more;
    const byte: u32 = load<u8>(at), last: u32 = load<u8>(lineEnd);
    if (byte === delimiter) {
      write(delimiter, isWriting);
      at++;
      fields++;
      continue;
    }
    if (last !== newline) {
      return lineEnd > at && last === enclosure
        ? strayQuote
        : byte === carriageReturn || byte === lineFeed
        ? strayLineEnd
        : textAfterQuote;
    }
    recordEnd = lineEnd + 1;
    if (at === recordStart) return skipBlanks(end);
    if (!isWriting && hasNothing(at - recordStart)) return skipSame(end);
    if (fields > columns && empty >= fields - columns) {
      written -= fields - columns;
      fields = columns;
    }
    if (isWriting && isTwoBytes && lineEnd > at) write(carriageReturn, true);
    write(newline, isWriting);
    return fields !== columns ? wrongFields : isText(recordStart, at) ? respelled : notText;
  }
}

/** A tab or a blank that separates fields is none. */
function afterBlanks(at: usize, end: usize): usize {
  for (; at < end; at++) {
    const byte: u32 = load<u8>(at);
    if ((byte !== space && byte !== tab) || byte === delimiter) break;
  }
  return at;
}

/** Where quotes are wrong nobody knows how far the record goes: the fault is laid on its first line alone. */
function faultOfLine(fault: u32, end: usize): u32 {
  let at = recordStart;
  while (at < end && load<u8>(at) !== newline) at++;
  recordEnd = at + 1;
  return at < end ? fault : more;
}

// JSON

const deepest: u32 = 512;
/** What opened each level of an element: its first byte; how many levels there are; how many of them are braces. */
const levels: usize = memory.data(512);
let depth: u32 = 0;
let braces: u32 = 0;
let isTooDeep: bool = false;
/** 1 where the last byte of a block is a backslash that escapes the next. */
let escaped: u64 = 0;
/** The line ends of a block that stand in strings. */
let cut: u64 = 0;

/** `inArray`: what follows an array's opening bracket, whose elements become lines; else: lines, an element each. */
export function scanJson(from: usize, end: usize, inArray: bool): u32 {
  let inside: u64 = 0, fault = more, suspect = false;
  escaped = 0;
  beginElement(from);
  memory.fill(end, <u8> space, 64);
  for (let block = from; block < end; block += 64) {
    const a = v128.load(block), b = v128.load(block, 16), c = v128.load(block, 32), d = v128.load(block, 48);
    const odd = mayBeNoText(a, b, c, d);
    suspect = suspect || odd;
    const quotes = find(a, b, c, d, quote), backslashes = find(a, b, c, d, backslash);
    const lineFeeds = find(a, b, c, d, lineFeed), lineEnds = lineFeeds | find(a, b, c, d, carriageReturn);
    let strings = parity(quotes) ^ inside;
    cut = 0;
    if ((backslashes | escaped | (lineEnds & strings)) !== 0) strings = trace(quotes, backslashes, lineEnds, inside);
    inside = 0 - (strings >> 63);
    let bad = cut | (findBelow(a, b, c, d, space) & ~(lineEnds | find(a, b, c, d, tab)));
    for (let bits = inArray ? lineEnds & ~cut : lineEnds & ~cut & ~lineFeeds; bits !== 0; bits &= bits - 1) {
      store<u8>(block + <usize> ctz(bits), <u8> space);
    }
    // With this bit set, a square bracket is a brace.
    const bit = i8x16.splat(0x20), e = v128.or(a, bit), f = v128.or(b, bit), g = v128.or(c, bit), h = v128.or(d, bit);
    let bits = (find(e, f, g, h, openBrace) | find(e, f, g, h, closeBrace)) & ~strings;
    bits |= inArray ? (find(a, b, c, d, comma) & ~strings) | cut : lineFeeds;

    for (; bits !== 0; bits &= bits - 1) {
      const at = block + <usize> ctz(bits);
      const byte: u32 = load<u8>(at);
      if (byte === comma ? depth !== 0 : byte < space ? inArray && !endsBefore(at) : bracket(byte, inArray)) continue;
      const upToHere = bits ^ (bits - 1);
      if (!inArray && suspect && isMarked()) return skipMark();
      if ((bad & upToHere) !== 0) fault = badControl;
      bad &= ~upToHere;
      recordEnd = at + 1;
      arrayClosed = byte === closeBracket;
      if (isTooDeep) fault = tooDeep;
      if (fault === more) fault = elementFault(at, suspect);
      if (fault === blank && !inArray) skipBlanks(end);
      if (fault !== more) return fault;
      store<u8>(at, <u8> lineFeed);
      records++;
      beginElement(recordEnd);
      if (arrayClosed) return more;
      suspect = odd;
    }
    if (bad !== 0) fault = badControl;
  }
  return more;
}

function beginElement(at: usize): void {
  recordStart = at;
  depth = 0;
  braces = 0;
  isTooDeep = false;
}

/** Which bytes stand in strings, an opening quote included, where backslashes or line ends make it less than easy. */
function trace(quotes: u64, backslashes: u64, lineEnds: u64, inside: u64): u64 {
  let strings = inside, skip = escaped;
  escaped = 0;
  for (let bits = quotes | backslashes | lineEnds; bits !== 0; bits &= bits - 1) {
    const here = bits & (0 - bits), onward = 0 - here;
    const inString = (strings & here) !== 0;
    if ((lineEnds & here) !== 0) {
      // No string goes on behind its line: one that is not closed spoils its own element only.
      if (inString) {
        cut |= here;
        strings ^= onward;
      }
    } else if (here === skip) continue;
    else if ((quotes & here) !== 0) strings ^= onward;
    else if (inString) {
      skip = here << 1;
      escaped = here >> 63;
    }
  }
  return strings;
}

/** Takes a bracket; false where it closes the array. */
function bracket(byte: u32, inArray: bool): bool {
  if (byte === openBrace || byte === openBracket) {
    if (depth < deepest) store<u8>(levels + depth, <u8> byte);
    else isTooDeep = true;
    if (!isTooDeep) braces += u32(byte === openBrace);
    depth++;
    return true;
  }
  if (depth === 0) return byte === closeBrace || !inArray;
  const opener = byte === closeBrace ? openBrace : openBracket;
  const isOpen = opener === openBrace ? braces > 0 : depth > braces;
  // Closes what is open within it too, so that an element that lacks a bracket ends where it should. One of the wrong kind
  // closes the innermost.
  for (let found = false; !found;) {
    if (--depth >= deepest) break;
    const innermost: u32 = load<u8>(levels + depth);
    braces -= u32(innermost === openBrace);
    found = innermost === opener || !isOpen;
  }
  return true;
}

/** Whether the element ends before a line end that cuts a string: "}," there is not meant to be in the string. */
function endsBefore(lineEnd: usize): bool {
  let last = beforeSpaces(lineEnd);
  const isSeparated = load<u8>(last) === <u8> comma;
  if (isSeparated) last = beforeSpaces(last);
  if (load<u8>(last) !== <u8> closeBrace) return false;
  depth = 0;
  braces = 0;
  return isSeparated;
}

/** The last byte before this one that is no space; the element's first, at the latest. */
function beforeSpaces(end: usize): usize {
  let at = end - 1;
  while (at > recordStart && load<u8>(at) <= <u8> space) at--;
  return at;
}

function elementFault(end: usize, suspect: bool): u32 {
  let at = recordStart;
  while (at < end && load<u8>(at) <= <u8> space) at++;
  if (at === end) return blank;
  if (suspect && !isText(at, end)) return notText;
  return end - recordStart === 2 && load<u16>(recordStart) === endMark ? endOfData : more;
}

// XXH64 (seed 0) of all that was handed to `hash`, in pieces of any length

const prime1: u64 = 0x9e3779b185ebca87, prime2: u64 = 0xc2b2ae3d27d4eb4f, prime3: u64 = 0x165667b19e3779f9;
const prime4: u64 = 0x85ebca77c2b2ae63, prime5: u64 = 0x27d4eb2f165667c5;
let lane1: u64 = prime1 + prime2, lane2: u64 = prime2, lane3: u64 = 0, lane4: u64 = 0 - prime1;
let hashed: u64 = 0;
/** The bytes since the last whole stripe of 32; how many they are. */
const stripe: usize = memory.data(32);
let started: usize = 0;

export function hash(from: usize, end: usize): void {
  hashed += end - from;
  if (started > 0) {
    const length = min(32 - started, end - from);
    memory.copy(stripe + started, from, length);
    started += length;
    from += length;
    if (started < 32) return;
    hashStripes(stripe, stripe + 32);
  }
  from = hashStripes(from, end);
  started = end - from;
  memory.copy(stripe, from, started);
}

/** Returns where the first stripe begins that is not whole. */
function hashStripes(from: usize, end: usize): usize {
  let a = lane1, b = lane2, c = lane3, d = lane4;
  for (; from + 32 <= end; from += 32) {
    a = mix(a, load<u64>(from));
    b = mix(b, load<u64>(from, 8));
    c = mix(c, load<u64>(from, 16));
    d = mix(d, load<u64>(from, 24));
  }
  lane1 = a;
  lane2 = b;
  lane3 = c;
  lane4 = d;
  return from;
}

function mix(lane: u64, word: u64): u64 {
  return rotl(lane + word * prime2, 31) * prime1;
}

export function digest(): u64 {
  let sum: u64 = prime5;
  if (hashed >= 32) {
    sum = rotl(lane1, 1) + rotl(lane2, 7) + rotl(lane3, 12) + rotl(lane4, 18);
    sum = join(join(join(join(sum, lane1), lane2), lane3), lane4);
  }
  sum += hashed;
  const end = stripe + started;
  let at = stripe;
  for (; at + 8 <= end; at += 8) sum = rotl(sum ^ mix(0, load<u64>(at)), 27) * prime1 + prime4;
  if (at + 4 <= end) {
    sum = rotl(sum ^ (<u64> load<u32>(at) * prime1), 23) * prime2 + prime3;
    at += 4;
  }
  for (; at < end; at++) sum = rotl(sum ^ (<u64> load<u8>(at) * prime5), 11) * prime1;
  sum = (sum ^ (sum >> 33)) * prime2;
  sum = (sum ^ (sum >> 29)) * prime3;
  return sum ^ (sum >> 32);
}

function join(sum: u64, lane: u64): u64 {
  return (sum ^ mix(0, lane)) * prime1 + prime4;
}

// Words of 64 bits

function find(a: v128, b: v128, c: v128, d: v128, byte: u32): u64 {
  const wanted = i8x16.splat(<i8> byte);
  return bitmask(i8x16.eq(a, wanted), i8x16.eq(b, wanted), i8x16.eq(c, wanted), i8x16.eq(d, wanted));
}

function findBelow(a: v128, b: v128, c: v128, d: v128, byte: u32): u64 {
  const bound = i8x16.splat(<i8> byte);
  return bitmask(i8x16.lt_u(a, bound), i8x16.lt_u(b, bound), i8x16.lt_u(c, bound), i8x16.lt_u(d, bound));
}

function bitmask(a: v128, b: v128, c: v128, d: v128): u64 {
  const low = <u64> (<u32> (i8x16.bitmask(a) | (i8x16.bitmask(b) << 16)));
  return low | (<u64> (<u32> (i8x16.bitmask(c) | (i8x16.bitmask(d) << 16))) << 32);
}

/** Each bit: whether the number of bits up to and including it is odd. */
function parity(bits: u64): u64 {
  if (bits === 0) return 0;
  bits ^= bits << 1;
  bits ^= bits << 2;
  bits ^= bits << 4;
  bits ^= bits << 8;
  bits ^= bits << 16;
  return bits ^ (bits << 32);
}

/** Whether a byte is 0 or beyond ASCII. */
function mayBeNoText(a: v128, b: v128, c: v128, d: v128): bool {
  const least = i8x16.min_s(i8x16.min_s(a, b), i8x16.min_s(c, d));
  return v128.any_true(i8x16.lt_s(least, i8x16.splat(1)));
}

/** Whether it is UTF-8, and without U+0000, which Postgres cannot store. The record's end ends a cut character, too. */
function isText(from: usize, end: usize): bool {
  let at = from;
  while (at < end) {
    while (at + 8 <= end && isPlain(load<u64>(at))) at += 8;
    if (at === end) break;
    const first: u32 = load<u8>(at++);
    if (first === 0) return false;
    if (first < 0x80) continue;
    const following = first < 0xc2 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : 0;
    if (following === 0) return false;
    const second: u32 = load<u8>(at);
    const least: u32 = first === 0xe0 ? 0xa0 : first === 0xf0 ? 0x90 : 0x80;
    const most: u32 = first === 0xed ? 0x9f : first === 0xf4 ? 0x8f : 0xbf;
    if (second < least || second > most) return false;
    for (let i = 1; i < following; i++) {
      if ((load<u8>(at + i) & 0xc0) !== 0x80) return false;
    }
    at += following;
  }
  return true;
}

/** Whether eight bytes are ASCII, none of them 0. Taking 1 from a byte of 0 sets its highest bit. */
function isPlain(bytes: u64): bool {
  return ((bytes | (bytes - 0x0101010101010101)) & 0x8080808080808080) === 0;
}
