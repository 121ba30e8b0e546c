/** A text in whatever encoding -> the same in UTF-8, and in it a byte that is none for each character that cannot be read. */
import { EtlError } from "../errors.ts";
import { concat, Peekable } from "./peekable.ts";

/** Byte order marks, each before one that it begins with: no file begins with one that is in another encoding. */
const marks = [
  { encoding: "utf-8", bytes: [0xef, 0xbb, 0xbf] },
  { encoding: "utf-32le", bytes: [0xff, 0xfe, 0, 0] },
  { encoding: "utf-32be", bytes: [0, 0, 0xfe, 0xff] },
  { encoding: "utf-16le", bytes: [0xff, 0xfe] },
  { encoding: "utf-16be", bytes: [0xfe, 0xff] },
];

const badByte = Uint8Array.of(0xff);
const replacement = "\ufffd", halfPair = "\ud800";

/** So many characters that cannot be read are damage, and more than one in so many are none of this encoding. */
const fewFaults = 10, rareFaults = 200;

/** Behind an escape, what ISO-2022 turns to other characters by, in bytes that are ASCII otherwise. */
const escape = 0x1b, shift = /^(\$[@AB]|\$[()*][@-~]|\([IJ])/;

/** Bytes that are looked at for it. */
const enoughForShift = 1 << 16;

/** `said`: the encoding that etl.feeds says. `charset`: the one that the server says, which often is wrong. */
export async function decode(bytes: Peekable, said: string, charset: string | null): Promise<Peekable> {
  const first = await bytes.peek((first) => first.length >= 4);
  const mark = marks.find(({ bytes }) => bytes.every((byte, i) => byte === first[i]));
  const encoding = mark?.encoding ?? said;
  if (mark?.encoding.startsWith("utf-32")) {
    throw new EtlError("encoding", "it is in UTF-32", "Ask the partner for UTF-8.");
  }
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(encoding, { ignoreBOM: true });
  } catch (cause) {
    throw new EtlError("encoding", `there is no encoding ${encoding}`, "Correct etl.feeds.encoding.", { cause });
  }
  if (decoder.encoding !== "utf-8") {
    const hint = mark
      ? "Its byte order mark says that it is: ask the partner to have the export mended."
      : "Correct etl.feeds.encoding.";
    const other = new EtlError("encoding", `it is not ${encoding}`, hint);
    const readAs = `${encoding}, which ${mark ? "its byte order mark" : "etl.feeds.encoding"} says`;
    bytes = new Peekable(transcoded(bytes, decoder, other), bytes.hasEnd, readAs);
  } else if (!mark) bytes = await withoutShifts(bytes, charset);
  await skipMarks(bytes);
  return bytes;
}

/** Where the server says ISO-2022, no escape is taken for text; else none at the beginning that is like its own. */
async function withoutShifts(bytes: Peekable, charset: string | null): Promise<Peekable> {
  const hint = "Say so in etl.feeds.encoding, as iso-2022-jp; of others than that ask the partner for UTF-8.";
  const error = new EtlError("encoding", "it is in ISO-2022, by its escape sequences", hint);
  const first = (await bytes.peek((first) => first.length >= enoughForShift)).subarray(0, enoughForShift);
  const [, ...escaped] = new TextDecoder().decode(first).split(String.fromCharCode(escape));
  if (escaped.some((text) => shift.test(text))) throw error;
  if (!/^(cs)?iso-?2022/i.test(charset ?? "")) return bytes;
  const checked = async function* () {
    for await (const chunk of bytes) {
      if (chunk.includes(escape)) throw error;
      yield chunk;
    }
  };
  return new Peekable(checked(), bytes.hasEnd);
}

/** Some write a mark before what has one already. */
async function skipMarks(text: Peekable): Promise<void> {
  const [{ bytes: mark }] = marks;
  const isMarked = async () => {
    const first = await text.peek((first) => first.length >= mark.length);
    return mark.every((byte, i) => byte === first[i]);
  };
  while (await isMarked()) text.skip(mark.length);
}

/** Throws `other` at the end, where so much of it cannot be read that it must be in another encoding. */
async function* transcoded(
  bytes: AsyncIterable<Uint8Array>,
  decoder: TextDecoder,
  other: EtlError,
): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder();
  const isUtf16 = decoder.encoding.startsWith("utf-16");
  const read = isUtf16
    ? readerOfUtf16(decoder)
    : (chunk?: Uint8Array) => decoder.decode(chunk, { stream: chunk !== undefined });
  const fault = isUtf16 ? /\p{Cs}/u : replacement;
  // Of all others these alone have a U+FFFD of their own: it is one as long as nothing was at fault.
  let strict = /^gb/.test(decoder.encoding) ? new TextDecoder(decoder.encoding, { fatal: true }) : null;
  const isSound = (chunk?: Uint8Array) => {
    try {
      strict?.decode(chunk, { stream: chunk !== undefined });
    } catch {
      strict = null;
    }
    return strict !== null;
  };
  let faults = 0, beyondAscii = 0;
  const encoded = (chunk?: Uint8Array) => {
    const text = read(chunk);
    const pieces = (isSound(chunk) ? [text] : text.split(fault)).map((piece) => {
      const bytes = encoder.encode(piece);
      beyondAscii += isUtf16 ? piece.length : bytes.length - piece.length;
      return bytes;
    });
    faults += pieces.length - 1;
    return concat(pieces.flatMap((piece, i) => i > 0 ? [badByte, piece] : [piece]));
  };
  for await (const chunk of bytes) yield encoded(chunk);
  yield encoded();
  if (faults > fewFaults && faults * rareFaults > beyondAscii) throw other;
}

/** UTF-16 as it is, with halves of pairs: TextDecoder makes U+FFFD of these, and that may be in the file as well. */
function readerOfUtf16(decoder: TextDecoder): (chunk?: Uint8Array) => string {
  const isLittle = decoder.encoding === "utf-16le";
  let rest: Uint8Array = new Uint8Array();
  return (chunk) => {
    const bytes = concat([rest, chunk ?? new Uint8Array()]), units = bytes.length >> 1;
    // The first half of a pair waits for the other.
    const isCut = chunk !== undefined && (bytes[units * 2 - (isLittle ? 1 : 2)] & 0xfc) === 0xd8;
    const end = (isCut ? units - 1 : units) * 2;
    rest = bytes.subarray(end);
    const text = decoder.decode(bytes.subarray(0, end));
    const exact = text.includes(replacement) ? unitsOf(bytes.subarray(0, end), isLittle) : text;
    return chunk === undefined && rest.length > 0 ? exact + halfPair : exact;
  };
}

function unitsOf(bytes: Uint8Array, isLittle: boolean): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let i = 0; i < bytes.length; i += 2) text += String.fromCharCode(view.getUint16(i, isLittle));
  return text;
}
