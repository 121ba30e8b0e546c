/** CSV as partners write it: each file loads exactly, but for the rejects, or is refused whole with the reason. */
import assert from "node:assert/strict";
import { gzipSync } from "node:zlib";
import { EtlError } from "../../lib/errors.ts";
import { looksLike } from "../../lib/format/encoding.ts";
import { openRows, openText } from "../../lib/format/rows.ts";
import { type Database, freshDatabase } from "../support/database.ts";
import { serve, type Web } from "../support/web.ts";

const utf8 = (text: string) => new TextEncoder().encode(text);
const bytes = (...parts: (string | number[] | Uint8Array)[]) =>
  new Uint8Array(parts.flatMap((part) => [...(typeof part === "string" ? utf8(part) : part)]));

interface Case {
  body: string | Uint8Array<ArrayBuffer>;
  feed?: Record<string, unknown>;
  headers?: Record<string, string>;
}

const people = [["1", "Ana"], ["2", "Bo"]];

const utf16 = (text: string, bigEndian = false) => {
  const view = new DataView(new ArrayBuffer(text.length * 2));
  for (let i = 0; i < text.length; i++) view.setUint16(i * 2, text.charCodeAt(i), !bigEndian);
  return new Uint8Array(view.buffer);
};

/** Deno 2.1 takes a content encoding off by itself, whatever was asked for. */
const unpackedByFetch = Deno.version.deno.startsWith("2.1.");

/** A letter of Japanese, between what turns to its characters and back. */
const iso2022 = bytes([0x1b], '$B%"', [0x1b], "(B");

const loads: Record<string, Case & { rows: (string | null)[][] }> = {
  "a script's answer, which it calls a web page": {
    body: "id,name\n1,Ana\n2,Bo\n",
    headers: { "content-type": "text/html; charset=UTF-8" },
    rows: people,
  },
  "a name that begins with <": { body: "<v>,id,name\n0,1,Ana\n<,2,Bo\n", rows: people },
  "a value that begins with <, without a header line": {
    body: "<10,Ana\n<htmlx,Bo\n",
    feed: { header: ["id", "name"] },
    rows: [["<10", "Ana"], ["<htmlx", "Bo"]],
  },
  "a first value that is <": { body: "<", feed: { header: ["id"] }, rows: [["<", null]] },
  "commas": { body: "id,name\n1,Ana\n2,Bo\n", rows: people },
  "semicolons": { body: "id;name\n1;Ana\n2;Bo\n", rows: people },
  "tabs": { body: "id\tname\n1\tAna\n2\tBo\n", rows: people },
  "pipes": { body: "id|name\n1|Ana\n2|Bo\n", rows: people },
  "a delimiter that etl.feeds names": { body: "id;x,y\n1;Ana\n", feed: { delimiter: ";" }, rows: [["1", null]] },
  "commas in the values of a semicolon file": { body: "id;name\n1;a,b,c\n", rows: [["1", "a,b,c"]] },
  "a byte order mark": { body: "\ufeffid,name\n1,Ana\n2,Bo\n", rows: people },
  "a byte order mark before a quoted header": { body: '\ufeff"id","name"\n1,Ana\n2,Bo\n', rows: people },
  "CRLF": { body: "id,name\r\n1,Ana\r\n2,Bo\r\n", rows: people },
  "lone CR": { body: "id,name\r1,Ana\r2,Bo\r", rows: people },
  "no line end at the end": { body: "id,name\n1,Ana\n2,Bo", rows: people },
  "trailing blank lines": { body: "id,name\n1,Ana\n2,Bo\n\n\n", rows: people },
  ...Object.fromEntries(
    ([
      ["lines of delimiters", ",\n,\n".repeat(20)],
      ["lines of more delimiters than the header has", ",,,\n".repeat(20)],
      ["lines of delimiters and blank ones", "\n,\n \n,,\n\n"],
      ["a line of delimiters without its end", ",,"],
      ["a line of blanks", "  \n"],
      ["blanks", " \t"],
      ["^Z", "\x1a"],
      ["^Z on a line", "\x1a\n"],
      ["NULs", "\0\0\0\0"],
      ["delimiters, blank lines, ^Z and NULs", ", ,\n\n\x1a\0\0"],
      ["a byte order mark", "\ufeff"],
    ] as const).flatMap(([what, end]) =>
      ["\n", "\r\n", "\r\r\n"].map((lineEnd) => [
        `${what} at the end, ${JSON.stringify(lineEnd)}`,
        { body: `id,name\n1,Ana\n2,Bo\n${end}`.replaceAll("\n", lineEnd), rows: people },
      ])
    ),
  ),
  "lines of delimiters and blanks in a file of one column": {
    body: "id\n1\n2\n,\n ,,\n \n",
    rows: [["1", null], ["2", null]],
  },
  "lines of delimiters and nothing else": { body: "id,name\n,\n,\n", rows: [] },
  "cells of blanks at the end, which are no empty cells": {
    body: "id,name\n1,Ana\n , \n",
    rows: [[" ", " "], ["1", "Ana"]],
  },
  "lines of tabs": { body: "id\tname\n1\tAna\n2\tBo\n\t\n\t\n", rows: people },
  "byte order marks between records": {
    body: '\ufeff\ufeff"id","name"\n1,Ana\n\ufeff"2",Bo\n\ufeff\ufeff3,\ufeff\n',
    rows: [...people, ["3", "\ufeff"]],
  },
  "a byte order mark twice in utf-16": { body: utf16("\ufeff\ufeffid,name\n1,Ana\n2,Bo\n"), rows: people },
  "delimiters at the end of every line but the header": { body: "id,name\n1,Ana,,\n2,Bo,,,,\n", rows: people },
  "delimiters at the end of a line, quotes and CRLF": {
    body: 'id;name\r\n1;"A;\r\n;";;\r\n"2" ;"Bo" ;;;\r\n3;;;\r\n',
    rows: [["1", "A;\r\n;"], ["2", "Bo"], ["3", null]],
  },
  "trailing blank lines, CRLF": { body: "id,name\r\n1,Ana\r\n2,Bo\r\n\r\n\r\n", rows: people },
  "a quoted header": { body: '"id","name"\n1,Ana\n2,Bo\n', rows: people },
  "a quoted header, semicolons": { body: '"id";"name"\n1;Ana\n2;Bo\n', rows: people },
  "a delimiter and a line end in a quoted header": { body: 'id,"a,\n;b",name\n1,,Ana\n2,,Bo\n', rows: people },
  "quotes in every field": { body: '"id","name"\n"1","Ana"\n"2","Bo"', rows: people },
  "doubled quotes": { body: 'id,name\n1,"""Ana"""\n2,""""\n', rows: [["1", '"Ana"'], ["2", '"']] },
  "a delimiter in quotes": { body: 'id,name\n1,"a,b"\n', rows: [["1", "a,b"]] },
  "line ends in quotes": { body: 'id,name\n1,"a\nb\r\n\rc"\n2,"\n"\n', rows: [["1", "a\nb\r\n\rc"], ["2", "\n"]] },
  "empty and quoted empty": { body: 'id,name\n1,\n2,""\n', rows: [["1", null], ["2", ""]] },
  "spaces are kept": { body: "id,name\n 1, Ana \n", rows: [[" 1", " Ana "]] },
  "backslashes are kept": { body: "id,name\n1,\\N\n2,a\\\n", rows: [["1", "\\N"], ["2", "a\\"]] },
  "a name that is blank": { body: "id,,name\n1,,Ana\n2,x,Bo\n", rows: people },
  "the header alone": { body: "id,name\n", rows: [] },
  "the header alone, no line end": { body: "id,name", rows: [] },
  "\\. within a line": { body: "id,name\n\\.,Ana\n2,\\.\n", rows: [["2", "\\."], ["\\.", "Ana"]] },
  "\\. on a line of its own inside quotes": { body: 'id,name\n1,"a\n\\.\nb"\n', rows: [["1", "a\n\\.\nb"]] },
  "\\. quoted, in a file of one column": { body: 'id\n1\n"\\."\n2\n', rows: [["1", null], ["2", null], ["\\.", null]] },
  "\\. in a file of one column": { body: "id\n1\n\\.\n2\n", rows: [["1", null], ["2", null], ["\\.", null]] },
  "LF, then CRLF": { body: "id,name\n1,Ana\n2,Bo\r\n3,Cy\n", rows: [...people, ["3", "Cy"]] },
  "CRLF, then LF": { body: "id,name\r\n1,Ana\n2,Bo\r\n", rows: people },
  "LF, then CRLF after a quote": { body: 'id,name\n1,"Ana"\r\n"2","Bo"\r\n', rows: people },
  "CR alone at the end": { body: "id,name\n1,Ana\n2,Bo\r", rows: people },
  "lines above the header": {
    body: 'Payouts of "July\n\n;;,\nid,name\n1,Ana\n2,Bo\n',
    feed: { skip: 3 },
    rows: people,
  },
  "lines above the header, each ended in its own way": {
    body: "{a\r\n<b\r\r\n[c\rid,name\n1,Ana\n2,Bo\n",
    feed: { skip: 3, format: null },
    rows: people,
  },
  "a line above the header, longer than what is hashed at once": {
    body: `${"x".repeat(70_000)}\nid,name\n1,Ana\n`,
    feed: { skip: 1 },
    rows: [["1", "Ana"]],
  },
  "no header line": { body: "1,Ana\n2,Bo\n", feed: { header: ["id", "name"] }, rows: people },
  "no header line, nor a format": {
    body: "[1];Ana\r\n2;Bo",
    feed: { header: ["id", "name"], format: null },
    rows: [["2", "Bo"], ["[1]", "Ana"]],
  },
  "no header line, other columns than the table's": {
    body: "0;Ana;1\n0;Bo;2\n",
    feed: { header: ["x", "name", "id"] },
    rows: people,
  },
  "no header line, and more commas than delimiters": {
    body: '1;"a,b,c"\n2;d,e,f\n',
    feed: { header: ["id", "name"] },
    rows: [["1", "a,b,c"], ["2", "d,e,f"]],
  },
  "no header line, lines above": {
    body: 'x"\n1,"A\na"\n2,Bo\n',
    feed: { header: ["id", "name"], skip: 1 },
    rows: [["1", "A\na"], ["2", "Bo"]],
  },
  "sep=;": { body: "sep=;\nid;name,x\n1;Ana\n2;Bo\n", rows: [["1", null], ["2", null]] },
  "SEP=, in quotes, CRLF": { body: '"SEP=,"\r\nid,name;x;y\r\n1,Ana\r\n', rows: [["1", null]] },
  "sep= a tab, lone CR": { body: "sep=\t\rid\tname\r1\tAna\r2\tBo\r", rows: people },
  "sep=^": { body: "sep=^\nid^name\n1^Ana\n2^Bo\n", rows: people },
  "sep= beside a delimiter that etl.feeds names": {
    body: "sep=;\nid|name\n1|Ana\n2|Bo\n",
    feed: { delimiter: "|" },
    rows: people,
  },
  "sep= below other lines": { body: "x\nsep=|\nid|name\n1|Ana\n2|Bo\n", feed: { skip: 1 }, rows: people },
  "sep= above no header": { body: "sep=;\n1;Ana\n2;Bo\n", feed: { header: ["id", "name"] }, rows: people },
  "sep= alone": { body: "sep=;\n", feed: { header: ["id", "name"] }, rows: [] },
  "sep= in a name": { body: "sep=ab,id\n1,2\n", rows: [["2", null]] },
  ...Object.fromEntries(
    ["^", "~", "\x01", "\x1f", " ", "]", "\\", "-", "a", "#", "\x7f", "'"].map((delimiter) => [
      `the delimiter ${JSON.stringify(delimiter)}`,
      {
        body: ["id,nAme", '1,"Ana,"', "2,Bo", '"",x', ""].join("\n").replaceAll(",", delimiter),
        feed: { delimiter, columns: { nAme: "name" } },
        rows: [["", "x"], ["1", `Ana${delimiter}`], ["2", "Bo"]].map((row) =>
          delimiter === "a" && row[0] === "1" ? ["1", "Anaa"] : row
        ),
      },
    ]),
  ),
  "another quote": {
    body: `'id','name'\n'1','A''n"a, b'\n2,5" wide\n`,
    feed: { quote: "'" },
    rows: [["1", `A'n"a, b`], ["2", '5" wide']],
  },
  "a backslash before quotes": {
    body: String.raw`id,"na\"me"` + "\n" + String.raw`1,"\"Ana\", \\ \n"` + "\n2,\\N\n3,C:\\\n" +
      String.raw`"4\",""","x\""` + "\n",
    feed: { escape: "\\", columns: { 'na"me': "name" } },
    rows: [["1", String.raw`"Ana", \ \n`], ["2", "\\N"], ["3", "C:\\"], ['4","', 'x"']],
  },
  "a backslash before quotes, and doubled quotes": {
    body: 'id,name\n1,"a""b\\"c"\n2,""\n',
    feed: { escape: "\\" },
    rows: [["1", 'a"b"c'], ["2", ""]],
  },
  "another quote and another escape": {
    body: "id|name\n'1^'|2'|'^^'\n'a^'\n'|x^\n",
    feed: { quote: "'", escape: "^" },
    rows: [["1'|2", "^"], ["a'\n", "x^"]],
  },
  "an escape that is the quote": { body: 'id,name\n1,"a""b"\n', feed: { escape: '"' }, rows: [["1", 'a"b']] },
  "blanks behind and before quotes": {
    body: 'id , "name" \n"1" ,"Ana"\t\n"2"\t ,  "Bo"\n "3","C,\n y" \n',
    rows: [...people, ["3", "C,\n y"]],
  },
  "blanks behind quotes, CRLF": { body: 'id,name\r\n"1" ,"Ana" \r\n"2" ,Bo\r\n', rows: people },
  "tabs behind quotes, where tabs separate": { body: 'id\tname\n"1" \t"Ana"\n"2"\t "Bo"\n', rows: people },
  "a blank behind quotes, and another line end": { body: 'id,name\r\n"1" ,Ana\n2,Bo\r\n', rows: people },
  "a delimiter at the end of every line": { body: "id,name,\n1,Ana,\n2,Bo,\n", rows: people },
  "a delimiter at the end of the header alone": { body: "id,name,\n1,Ana\n2,Bo\n", rows: people },
  "delimiters at the end of the header alone": { body: "id,name,,,\n1,Ana\n2,Bo\n", rows: people },
  "delimiters at the end of the header, and fewer at that of the records": {
    body: "id,name,,,\n1,Ana,\n2,Bo,,\n",
    rows: people,
  },
  "a delimiter at the end of the header, quotes and CRLF": {
    body: '"id";"name";""\r\n"1";"A\r\n;"\r\n2;"Bo";\r\n',
    rows: [["1", "A\r\n;"], ["2", "Bo"]],
  },
  "a delimiter at the end of the header, and nothing else": { body: "id,name,\n", rows: [] },
  "a last column without a name": { body: "id,name,\n1,Ana,x\n2,Bo,y\n", rows: people },
  "a delimiter at the end of every line but the header": { body: "id,name\n1,Ana,\n2,Bo,", rows: people },
  "a delimiter at the end of a line, quotes and CRLF": {
    body: 'id;name\r\n1;"A;\r\n;";\r\n"2" ;"Bo" ;\r\n3;;\r\n',
    rows: [["1", "A;\r\n;"], ["2", "Bo"], ["3", null]],
  },
  "a delimiter at the end of \\.": { body: "id\n1,\n\\.,\n2,\n", rows: [["1", null], ["2", null], ["\\.", null]] },
  "CR CR LF": { body: "id,name\r\r\n1,Ana\r\r\n2,Bo\r\r\n", rows: people },
  "CR CR LF, quotes and blank lines at the end": {
    body: 'id,name\r\r\n"1","A\r\r\na"\r\r\n2,"Bo"\r\r\n\r\r\n\r\r\n',
    rows: [["1", "A\r\r\na"], ["2", "Bo"]],
  },
  "LF, then CR CR LF": { body: "id,name\n1,Ana\r\r\n2,Bo\r\r\r\n", rows: people },
  "utf-16 by its byte order mark": { body: utf16("\ufeffid,name\n1,Díaz €\n"), rows: [["1", "Díaz €"]] },
  "utf-16 by its byte order mark, big end first": {
    body: utf16("\ufeffid,name\n1,Díaz €\n", true),
    rows: [["1", "Díaz €"]],
  },
  "U+FFFD and a pair of surrogates in utf-16": {
    body: utf16("\ufeffid,name\n1,\ufffd\u{1f695}\ufffd\n"),
    rows: [["1", "\ufffd\u{1f695}\ufffd"]],
  },
  "utf-16 by its byte order mark, gzip": { body: bytes(gzipSync(utf16("\ufeffid\n1\n"))), rows: [["1", null]] },
  "utf-16 by its byte order mark, JSON": {
    body: utf16('\ufeff[{"id":1,"name":"€"}]'),
    feed: { format: null },
    rows: [["1", "€"]],
  },
  "windows-1252": {
    body: bytes("id,name\n1,D", [0xed], "az ", [0x80], "\n"),
    feed: { encoding: "windows-1252" },
    rows: [["1", "Díaz €"]],
  },
  "a byte order mark of UTF-8 beside another encoding that was said": {
    body: "\ufeffid,name\n1,José\n",
    feed: { encoding: "windows-1252" },
    rows: [["1", "José"]],
  },
  "a byte order mark of UTF-16, big end first, beside utf-16, which is little end first": {
    body: utf16("\ufeffid,name\n1,José\n", true),
    feed: { encoding: "utf-16" },
    rows: [["1", "José"]],
  },
  "utf-16le with a byte order mark": {
    body: new Uint8Array(Uint16Array.from("\ufeffid,name\n1,Díaz €\n", (c) => c.charCodeAt(0)).buffer),
    feed: { encoding: "utf-16le" },
    rows: [["1", "Díaz €"]],
  },
  "iso-2022-jp": {
    body: bytes("id,name\n1,", iso2022, "\n"),
    headers: { "content-type": "text/csv; charset=iso-2022-jp" },
    feed: { encoding: "iso-2022-jp" },
    rows: [["1", "\u30a2"]],
  },
  "ASCII that is said to be iso-2022-jp": {
    body: "id,name\n1,Ana\n2,Bo\n",
    headers: { "content-type": "text/csv; charset=iso-2022-jp" },
    rows: people,
  },
  "a colour of a terminal": { body: "id,name\n1,\x1b[31mAna\n", rows: [["1", "\x1b[31mAna"]] },
  "a .gz file": { body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n")), rows: people },
  "a .gz file of two members": { body: bytes(gzipSync("id,name\n1,Ana\n"), gzipSync("2,Bo\n")), rows: people },
  "a .gz file with zeros behind it": { body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n"), [0, 0, 0]), rows: people },
  "a .gz file with more than a megabyte of zeros behind it": {
    body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n"), new Uint8Array(1_100_000)),
    rows: people,
  },
  "content-encoding gzip": {
    body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n")),
    headers: { "content-encoding": "gzip" },
    rows: people,
  },
  ...Object.fromEntries(
    ["", "none", "identity", "binary", "utf-8", "aws-chunked", "Identity, none", ...unpackedByFetch ? [] : ["gzip"]]
      .map(
        (coding) => [
          `plain, and content-encoding ${JSON.stringify(coding)}`,
          { body: "id,name\n1,Ana\n2,Bo\n", headers: { "content-encoding": coding }, rows: people },
        ],
      ),
  ),
  ...Object.fromEntries(
    ["identity, gzip", "gzip,aws-chunked", "X-Gzip", "none", "gzip, "].map((coding) => [
      `gzip, and content-encoding ${JSON.stringify(coding)}`,
      { body: bytes(gzipSync("id,name\n1,Ana\n2,Bo\n")), headers: { "content-encoding": coding }, rows: people },
    ]),
  ),
  "content-encoding gzip, two members": {
    body: bytes(gzipSync("id,name\n1,Ana\n"), gzipSync("2,Bo\n")),
    headers: { "content-encoding": "gzip" },
    rows: people,
  },
};

const gzipped = gzipSync("id,name\n" + Array.from({ length: 9999 }, (_, i) => `${i},${i * 7919 % 10007}\n`).join(""));

const refused: Record<string, Case & { code: string; message: string | RegExp; hint?: RegExp }> = {
  "a quote within the header": { body: 'id,na"me\n1,Ana\n', code: "header", message: /^a quote in its header/ },
  "a quote not closed in the header": { body: 'id,"name\n1,Ana\n', code: "header", message: /^a quote in its header/ },
  "text after a quote in the header": {
    body: '"id"x,name\n1,Ana\n',
    code: "header",
    message: /^a quote in its header/,
  },
  "a header naming a column twice": { body: "id,name,id\n1,Ana,2\n", code: "columns", message: /a column twice: id$/ },
  "lines to skip, and no more": {
    body: "a\nb\n",
    feed: { skip: 2 },
    code: "empty",
    message: /nothing follows the 2 lines/,
  },
  "more lines to skip than there are": {
    body: "a\nb",
    feed: { skip: 2 },
    code: "header",
    message: /no more than the 2 lines/,
  },
  "a web page below the lines to skip": { body: "\n\n<html>", feed: { skip: 2 }, code: "html", message: /a web page/ },
  ...Object.fromEntries(
    [
      "<!DOCTYPE html>",
      "<!doctype\nHTML PUBLIC 'x'>",
      "<HTML lang=en>",
      "<head>",
      "<body\n",
      "<!-- Ana -->\n<!---->\r\n <html>",
      "<h1>Not Found</h1>",
      "<br />\n<b>Warning</b>: x",
      "<script>x</script><html>",
      "<!-- Ana --><svg/>",
    ].map(
      (
        body,
      ) => [`what begins with ${JSON.stringify(body)}`, {
        body,
        code: "html",
        message: /a web page in place of data$/,
      }],
    ),
  ),
  ...Object.fromEntries(
    ['<?xml version="1.0"?><rows><Ana/></rows>', "\ufeff\n<?XML\tversion='1.0'?>\n<!DOCTYPE html>"].map((body) => [
      `what begins with ${JSON.stringify(body)}`,
      { body, code: "file_type", message: /it is an XML document$/, hint: /as CSV/ },
    ]),
  ),
  "a part of a web page, where the header is said": {
    body: "<h1>Not Found</h1>\n",
    feed: { header: ["id"] },
    code: "html",
    message: /a web page/,
  },
  "comments without end": {
    body: "<!--Ana-->".repeat(200) + "x\n1\n",
    code: "columns",
    message: /none of its 1 names/,
  },
  "a tag that is none of a web page's": { body: "<rows>Ana\n1\n", code: "columns", message: /none of its 1 names/ },
  "names for a header that the table does not have": {
    body: "1,Ana\n",
    feed: { header: ["a", "b"] },
    code: "columns",
    message: /none of its 2 names/,
  },
  "an unmapped escape": {
    body: '"id\\",name\n1,Ana\n',
    feed: { escape: "\\" },
    code: "header",
    message: /^a quote in its header/,
  },
  "utf-16 without a byte order mark": {
    body: utf16("id,name\n1,x\n"),
    code: "encoding",
    message: /NUL/,
    hint: /utf-16le:/,
  },
  "utf-16 without a byte order mark, big end first": {
    body: utf16("id,name\n1,x\n", true),
    code: "encoding",
    message: /NUL/,
    hint: /utf-16be:/,
  },
  "utf-16 without a byte order mark, JSON": {
    body: utf16('[{"id":1}]'),
    feed: { format: null },
    code: "encoding",
    message: /NUL/,
    hint: /utf-16le:/,
  },
  "utf-16 without a byte order mark, big end first, JSON": {
    body: utf16('[{"id":1}]', true),
    feed: { format: "json" },
    code: "encoding",
    message: /NUL/,
    hint: /utf-16be:/,
  },
  "utf-32 by its byte order mark": {
    body: new Uint8Array(Uint32Array.from("\ufeffid,name\n1,Ana\n", (c) => c.charCodeAt(0)).buffer),
    code: "encoding",
    message: "it is in UTF-32",
    hint: /UTF-8/,
  },
  "utf-32 by its byte order mark, big end first": {
    body: bytes(..."\ufeffid,name\n".split("").map((c) => [0, 0, c.charCodeAt(0) >> 8, c.charCodeAt(0) & 0xff])),
    feed: { encoding: "windows-1252" },
    code: "encoding",
    message: "it is in UTF-32",
  },
  ...Object.fromEntries(
    ([
      ["", {}],
      [" behind 64 KB of ASCII, where the server says so", { "content-type": 'text/csv; x=y;CHARSET="ISO-2022-JP"' }],
    ] as [string, Record<string, string>][]).map(([where, headers]) => [
      `iso-2022-jp that etl.feeds does not say${where}`,
      {
        body: bytes("id,name\n", where && "0,x\n".repeat(20_000), "1,", iso2022, "\n"),
        headers,
        code: "encoding",
        message: "it is in ISO-2022, by its escape sequences",
        hint: /^Say so in etl\.feeds\.encoding, as iso-2022-jp/,
      },
    ]),
  ),
  "a header in windows-1252": {
    body: bytes("id,name,t", [0xe9], "l", [0xe9], "phone\n1,Ana,0\n"),
    code: "encoding",
    message: /not UTF-8/,
    hint: /windows-1252:/,
  },
  "a header in windows-1251": {
    body: bytes("id,", [0xe8, 0xec, 0xff], "\n1,Ana\n"),
    code: "encoding",
    message: /not UTF-8/,
    hint: /Ask the partner for its encoding/,
  },
  "a blank header line": { body: "\nid,name\n1,Ana\n", code: "header", message: /header line is blank/ },
  "a record in place of the header, one value of which is a column's name": {
    body: "ana@example.org,name,s3cret\n1,Ana,x\n",
    code: "columns",
    message: /required column id; it has 3 names, and the table 1 of them$/,
    hint: /^If its first line is a record, name the columns in etl\.feeds\.header/,
  },
  "a header without the key": { body: "name\nAna\n", code: "columns", message: /lacks the key or required column id/ },
  "a NUL in the header": { body: "id,na\0me\n1,Ana\n", code: "encoding", message: /holds a NUL/ },
  "a header that is not UTF-8": { body: bytes("id,na", [0xff], "me\n1,Ana\n"), code: "encoding", message: /not UTF-8/ },
  "nothing at all": { body: "", code: "empty", message: /the body is empty/ },
  "nothing but white space": { body: "\n \r\n".repeat(999), code: "empty", message: /the body is empty/ },
  "\\. in place of the header": { body: "\\.\n1\n", code: "columns", message: /none of its 1 names is a column/ },
  "an encoding that is none": {
    body: "id\n1\n",
    feed: { encoding: "latin-9000" },
    code: "encoding",
    message: /latin-9000/,
  },
  "shift_jis that is said to be euc-jp": {
    body: bytes("id,name\n", ...Array.from({ length: 20 }, (_, i) => bytes(`${i},x`, [0x82, 0xa0], "\n"))),
    feed: { encoding: "euc-jp" },
    code: "encoding",
    message: "it is not euc-jp",
    hint: /^Correct etl\.feeds\.encoding/,
  },
  "utf-16 by its byte order mark that is none": {
    body: utf16("\ufeffid,name\n" + Array.from({ length: 20 }, (_, i) => `${i},\ud800\n`).join("")),
    code: "encoding",
    message: "it is not utf-16le",
    hint: /^Its byte order mark says that it is/,
  },
  "a header that is not in its encoding": {
    body: bytes("id,na", [0xff], "me\n1,Ana\n"),
    feed: { encoding: "shift_jis" },
    code: "encoding",
    message: "its header line is not shift_jis, which etl.feeds.encoding says",
    hint: /^Correct etl\.feeds\.encoding/,
  },
  "a bad character in each fifty of a quoted cell": {
    body: bytes('id,name\n1,"', ...Array.from({ length: 20_000 }, () => bytes("x".repeat(50), [0xff])), '"\n'),
    feed: { encoding: "shift_jis" },
    code: "encoding",
    message: "it is not shift_jis",
  },
  "a .gz file cut short": { body: bytes(gzipped.subarray(0, -9)), code: "gzip", message: /broken or cut short/ },
  "a .gz file with a flipped bit": { body: bytes(gzipped.with(-6, 7)), code: "gzip", message: /broken or cut short/ },
  "a .gz file with text behind it": { body: bytes(gzipped, "2,Bo\n"), code: "gzip", message: /broken or cut short/ },
  ...Object.fromEntries(
    ([
      ["another member", gzipSync("2,Bo\n")],
      ["text", utf8("2,Bo\n")],
      ["a letter", utf8("2")],
      ["the first byte of a member", [0x1f]],
      ["UTF-16", utf16("2,Bo\n")],
      ["a letter and another member", bytes("2", gzipSync("2,Bo\n"))],
    ] as const).flatMap(([what, behind]) =>
      [1, 3, 20].map((zeros) => [
        `a .gz file with ${what} behind ${zeros} zeros`,
        {
          body: bytes(gzipSync("id,name\n1,Ana\n"), new Uint8Array(zeros), [...behind]),
          code: "gzip",
          message: /broken or cut short/,
        },
      ])
    ),
  ),
  "a .gz file with text behind a megabyte of zeros": {
    body: bytes(gzipped, new Uint8Array(1_100_000), "2,Bo\n"),
    code: "gzip",
    message: /broken or cut short/,
  },
  "content-encoding gzip, cut short": {
    body: bytes(gzipped.subarray(0, -9)),
    headers: { "content-encoding": "gzip" },
    code: unpackedByFetch ? "cut_short" : "gzip",
    message: /cut short/,
  },
  ...Object.fromEntries(
    ["zstd", "deflate", "compress", "identity, zstd", "Zstd ,gzip", "gzip, x-compress"].map((coding) => [
      `the content encoding ${coding}`,
      {
        body: "id\n1\n",
        headers: { "content-encoding": coding },
        code: "content_encoding",
        message: new RegExp(`the content encoding ${coding.match(/zstd|deflate|(x-)?compress/i)![0].toLowerCase()}$`),
      },
    ]),
  ),
};

/** Records that are rejected: record number, raw text, how the reason reads, SQLSTATE; and the rows that load. */
const rejected: Record<
  string,
  Case & { rows: (string | null)[][]; rejects: [number, string | null, string | RegExp, string][] }
> = {
  "a quote that is not closed": {
    body: 'id,name\n1,"Ana\n2,Bo\n3,Cy\n',
    rows: [["2", "Bo"], ["3", "Cy"]],
    rejects: [[1, '1,"Ana', "has a quote that is not closed", "22P04"]],
  },
  "a quote that is not closed, after a field of three lines": {
    body: 'id,name\r\n1,"A\r\nn\r\na"\r\n2,"Bo\r\n\r\n',
    rows: [["1", "A\r\nn\r\na"]],
    rejects: [[2, '2,"Bo', "has a quote that is not closed", "22P04"]],
  },
  "a quote that is not closed, and blank lines before others": {
    body: 'id,name\n1,"Ana\n\n2,Bo\n',
    rows: [["2", "Bo"]],
    rejects: [[1, '1,"Ana', "has a quote that is not closed", "22P04"], [2, "", "is a blank line", "22P04"]],
  },
  "a lone quote at the end": {
    body: 'id,name\n1,"',
    rows: [],
    rejects: [[1, '1,"', "has a quote that is not closed", "22P04"]],
  },
  "a quote within a field": {
    body: 'id,name\n1,Ana\n2,5" wide\n3,6" wide\n4,Bo\n',
    rows: [["1", "Ana"], ["4", "Bo"]],
    rejects: [
      [2, '2,5" wide', "has a quote within a field that is not quoted", "22P04"],
      [3, '3,6" wide', "has a quote within a field that is not quoted", "22P04"],
    ],
  },
  "a quote after a space, and text after that": {
    body: 'id,name\n1, "Ana" x\n2, "Bo\n3,Cy\n',
    rows: [["3", "Cy"]],
    rejects: [
      [1, '1, "Ana" x', "has text after a closing quote", "22P04"],
      [2, '2, "Bo', "has a quote that is not closed", "22P04"],
    ],
  },
  "what is read all the same, among what is not": {
    body: 'id,name\n"1" ,Ana\n"x" ,"y" ,z\n2,Bo,\n3,Cy,,z\n\r\r\n"4" ,"D\n" "\n5 ,\r\r\n\n"6" ,\xff\n'
      .replace("\xff", "\ud800"),
    rows: [["1", "Ana"], ["2", "Bo"], ["5 ", null], ["6", "\ufffd"]],
    rejects: [
      [2, '"x" ,"y" ,z', "has 3 fields where the header has 2", "22P04"],
      [4, "3,Cy,,z", "has 4 fields where the header has 2", "22P04"],
      [5, "", "is a blank line", "22P04"],
      [6, '"4" ,"D', "has text after a closing quote", "22P04"],
      [7, '" "', "has 1 field where the header has 2", "22P04"],
      [9, "", "is a blank line", "22P04"],
    ],
  },
  "not UTF-8, behind a blank after a quote": {
    body: bytes('id,name\n"1" ,caf', [0xe9], "\n"),
    rows: [],
    rejects: [[
      1,
      '"1" ,caf\ufffd',
      "is not UTF-8: it looks like windows-1252, which etl.feeds.encoding must say",
      "22021",
    ]],
  },
  "a first record that is not in order, without a header line": {
    body: '1,"Ana\n2,Bo\n3,Cy,Z\n4,Di\n',
    feed: { header: ["id", "name"] },
    rows: [["2", "Bo"], ["4", "Di"]],
    rejects: [
      [1, '1,"Ana', "has a quote that is not closed", "22P04"],
      [3, "3,Cy,Z", "has 3 fields where the header has 2", "22P04"],
    ],
  },
  "utf-16 without a header line": {
    body: utf16("1,Ana\n"),
    feed: { header: ["id", "name"] },
    rows: [],
    rejects: [
      [1, "1\ufffd,\ufffdA\ufffdn\ufffda\ufffd", /^holds a NUL byte: it looks like utf-16le, which/, "22021"],
    ],
  },
  "a backslash before the last quote": {
    body: 'id,name\n1,"Ana\\"\n2,Bo\n3,"C\\"y" x\n',
    feed: { escape: "\\" },
    rows: [["2", "Bo"]],
    rejects: [
      [1, '1,"Ana\\"', "has text after a closing quote", "22P04"],
      [3, '3,"C\\"y" x', "has text after a closing quote", "22P04"],
    ],
  },
  "another quote, and the usual one": {
    body: `id,name\n1,'Ana\n2,"Bo"\n3,5' x\n`,
    feed: { quote: "'" },
    rows: [["2", '"Bo"']],
    rejects: [
      [1, "1,'Ana", "has text after a closing quote", "22P04"],
      [3, "3,5' x", "has a quote within a field that is not quoted", "22P04"],
    ],
  },
  "text after a closing quote, on its line or a later one": {
    body: 'id,name\n1,"Ana" Maria\n2,"Bo\nor" Bob\n3,Cy\n',
    rows: [["3", "Cy"]],
    rejects: [
      [1, '1,"Ana" Maria', "has text after a closing quote", "22P04"],
      [2, '2,"Bo', "has text after a closing quote", "22P04"],
      [3, 'or" Bob', "has a quote within a field that is not quoted", "22P04"],
    ],
  },
  "a NUL": {
    body: "id,name\n1,Ana\n2,B\0o\n",
    rows: [["1", "Ana"]],
    rejects: [[2, "2,B\ufffdo", "holds a NUL byte", "22021"]],
  },
  "bytes that are not UTF-8": {
    body: bytes("id,name\n1,Ana\n2,B", [0xff], "\n3,Díaz\n"),
    rows: [["1", "Ana"], ["3", "Díaz"]],
    rejects: [[2, "2,B\ufffd", /^is not UTF-8: it looks like windows-1252, which etl/, "22021"]],
  },
  "UTF-8 cut in the middle of a character": {
    body: bytes("id,name\n1,D", [0xc3], "\n2,", [0xa9], "\n"),
    rows: [],
    rejects: [[1, "1,D\ufffd", /^is not UTF-8/, "22021"], [2, "2,\ufffd", /^is not UTF-8/, "22021"]],
  },
  "UTF-8 as it must not be: half a surrogate pair, an overlong slash": {
    body: bytes("id,name\n1,", [0xed, 0xa0, 0x80], "\n2,", [0xc0, 0xaf], "\n"),
    rows: [],
    rejects: [[1, "1,\ufffd\ufffd\ufffd", "is not UTF-8", "22021"], [2, "2,\ufffd\ufffd", /^is not UTF-8/, "22021"]],
  },
  "halves of surrogate pairs in utf-16": {
    body: utf16("\ufeffid,name\n1,Ana\n2,B\ud83d\n3,\ufffd\n4,\ude95\u{1f695}\ufffd\n"),
    rows: [["1", "Ana"], ["3", "\ufffd"]],
    rejects: [
      [2, "2,B\ufffd", "is not UTF-8, nor utf-16le, which its byte order mark says", "22021"],
      [4, "4,\ufffd\u{1f695}\ufffd", "is not UTF-8, nor utf-16le, which its byte order mark says", "22021"],
    ],
  },
  "half a surrogate pair in utf-16, big end first, and half a character at its end": {
    body: bytes(utf16("\ufeffid,name\n1,Ana\n2,\ud83dB\n3,C", true), [0]),
    rows: [["1", "Ana"]],
    rejects: [
      [2, "2,\ufffdB", "is not UTF-8, nor utf-16be, which its byte order mark says", "22021"],
      [3, "3,C\ufffd", "is not UTF-8, nor utf-16be, which its byte order mark says", "22021"],
    ],
  },
  ...Object.fromEntries(
    ([
      ["shift_jis", [0x83, 0x41], [0x81, 0xff]],
      ["euc-jp", [0xa5, 0xa2], [0xff]],
      ["gb18030", [0xa5, 0xa2], [0xff]],
    ] as const).map(([encoding, letter, none]) => [
      `a character that is none in ${encoding}`,
      {
        body: bytes("id,name\n1,", [...letter], "\n2,B", [...none], "\n"),
        feed: { encoding },
        rows: [["1", "\u30a2"]],
        rejects: [[2, "2,B\ufffd", `is not UTF-8, nor ${encoding}, which etl.feeds.encoding says`, "22021"]] as [
          number,
          string,
          string,
          string,
        ][],
      },
    ]),
  ),
  "\\. on a line of its own": {
    body: "id,name\n1,Ana\n\\.\n2,Bo\n",
    rows: people,
    rejects: [[2, "\\.", "has 1 field where the header has 2", "22P04"]],
  },
  "a blank line": {
    body: "id,name\n1,Ana\n\n2,Bo\n\n",
    rows: people,
    rejects: [[2, "", "is a blank line", "22P04"]],
  },
  "blank lines, CRLF": {
    body: "id,name\r\n\r\n1,Ana\r\n\r\n2,Bo",
    rows: people,
    rejects: [[1, "", "is a blank line", "22P04"], [3, "", "is a blank line", "22P04"]],
  },
  "a line of delimiters, of blanks, ^Z and a NUL among records": {
    body: "id,name\n1,Ana\n,\n,\n  \n\x1a\n,\0\n2,Bo\n,\n",
    rows: people,
    rejects: [
      [2, null, "is missing", "23502"],
      [3, null, "is missing", "23502"],
      [4, "  ", "has 1 field where the header has 2", "22P04"],
      [5, "\x1a", "has 1 field where the header has 2", "22P04"],
      [6, ",\ufffd", "holds a NUL byte", "22021"],
    ],
  },
  "a delimiter among records in a file of one column": {
    body: "id\n1\n,\n2\n",
    rows: [["1", null], ["2", null]],
    rejects: [[2, ",", "has 2 fields where the header has 1", "22P04"]],
  },
  "a blank line in a file of one column": {
    body: "id\n1\n\n2\n",
    rows: [["1", null], ["2", null]],
    rejects: [[2, "", "is a blank line", "22P04"]],
  },
  "too few fields": {
    body: "id,name\n1,Ana\n2\n",
    rows: [["1", "Ana"]],
    rejects: [[2, "2", "has 1 field where the header has 2", "22P04"]],
  },
  "too few fields, also without the header's last, which has no name": {
    body: "id,name,\n1\n2,Bo,\n3,Cy\n",
    rows: [["2", "Bo"]],
    rejects: [
      [1, "1", "has 1 field where the header has 3", "22P04"],
      [3, "3,Cy", "has 2 fields where the header has 3", "22P04"],
    ],
  },
  "a value for a name that is empty, behind a record that has none for it": {
    body: "id,name,\n1,Ana\n2,Bo,x\n",
    rows: [["1", "Ana"]],
    rejects: [[2, "2,Bo,x", "has 3 fields where the header has 2", "22P04"]],
  },
  "too many fields, over two lines": {
    body: 'id,name\n1,Ana,"x\ny"\n2,Bo\n',
    rows: [["2", "Bo"]],
    rejects: [[1, '1,Ana,"x\ny"', "has 3 fields where the header has 2", "22P04"]],
  },
  "half a line end": {
    body: "id,name\n1,A\rna\n2,Bo\n",
    rows: [["2", "Bo"]],
    rejects: [[1, "1,A\rna", "has half a line end within a field that is not quoted", "22P04"]],
  },
  "CR, then LF": {
    body: "id,name\r1,Ana\n2,Bo\r3,Cy\r",
    rows: [["3", "Cy"]],
    rejects: [[1, "1,Ana\n2,Bo", "has half a line end within a field that is not quoted", "22P04"]],
  },
  "a byte order mark in the middle": {
    body: "id,name\n1,Ana\n\ufeffid,name,x\n2,Bo\n",
    rows: people,
    rejects: [[2, "id,name,x", "has 3 fields where the header has 2", "22P04"]],
  },
  "a header that repeats": {
    body: "id,name\n1,Ana\nid,name\n2,Bo\n",
    rows: people,
    rejects: [[2, null, "repeats the header line", "22P04"]],
  },
  "every record": {
    body: "id,name\n1\n2,B\0o\n",
    rows: [],
    rejects: [[1, "1", /field/, "22P04"], [2, "2,B\ufffdo", /NUL/, "22021"]],
  },
};

async function things(): Promise<Database> {
  const db = await freshDatabase();
  await db.query("create table public.things (id text primary key, name text)");
  return db;
}

/** Loads it into an empty table, whatever was there before. */
async function loadCase(db: Database, web: Web, { body, headers, feed }: Case, rejectLimit: number) {
  web.files["/things"] = () => new Response(body as BodyInit, { headers });
  await db.query("truncate public.things; delete from etl.feeds where name = 'things'");
  await db.feed("things", { url: `${web.url}/things`, format: "csv", reject_limit: rejectLimit, ...feed });
  return await db.loadOne("things");
}

const rowsIn = async (db: Database) =>
  (await db.query('select id, name from public.things order by id collate "C"')).map(({ id, name }) => [id, name]);

Deno.test("files that load, exactly", async (t) => {
  await using db = await things();
  await using web = serve({});
  for (const [name, given] of Object.entries(loads)) {
    await t.step(name, async () => {
      const report = await loadCase(db, web, given, 0);
      assert.equal(report.error, null);
      assert.deepEqual([report.read, report.inserted], [given.rows.length, given.rows.length]);
      assert.deepEqual(await rowsIn(db), given.rows);
      assert.equal((await db.loadOne("things")).status, "unchanged", "its hash is that of the text as it came");
    });
  }
});

Deno.test("records that are rejected, while the others load", async (t) => {
  await using db = await things();
  await using web = serve({});
  for (const [name, given] of Object.entries(rejected)) {
    await t.step(name, async () => {
      const report = await loadCase(db, web, given, 1);
      assert.equal(report.error, null);
      const { rows, rejects } = given;
      assert.deepEqual([report.inserted, report.rejected, report.duplicate], [rows.length, rejects.length, 0]);
      assert.equal(report.read, rows.length + rejects.length);
      assert.deepEqual(await rowsIn(db), rows);
      const found = await db.query("select * from etl.rejects order by record_number");
      assert.deepEqual(
        found.map((row) => [Number(row.record_number), row.raw, row.sqlstate]),
        rejects.map(([number, raw, , sqlState]) => [number, raw, sqlState]),
      );
      for (const [i, [, , reason]] of rejects.entries()) {
        if (typeof reason === "string") assert.equal(found[i].reason, reason);
        else assert.match(found[i].reason, reason);
      }
      assert.equal(
        (await loadCase(db, web, given, 0)).error?.code,
        "too_many_rejects",
        "above the limit nothing loads",
      );
      assert.deepEqual(await rowsIn(db), []);
    });
  }
});

Deno.test("files that are refused, with the reason and nothing of their content", async (t) => {
  await using db = await things();
  await using web = serve({});
  for (const [name, given] of Object.entries(refused)) {
    await t.step(name, async () => {
      const { status, error } = await loadCase(db, web, given, 1);
      assert.equal(status, "failed");
      assert.equal(error!.code, given.code, error!.message);
      const message = error!.message.replace("Cannot load things: ", "");
      if (typeof given.message === "string") assert.equal(message, given.message);
      else assert.match(message, given.message);
      assert.ok(error!.hint, "there is a way out");
      if (given.hint) assert.match(error!.hint, given.hint);
      assert.doesNotMatch(error!.message + error!.hint, /Ana|Bo\b|wide/);
      assert.deepEqual(await rowsIn(db), []);
      assert.deepEqual(await db.query("select * from etl.rejects"), []);
    });
  }
});

Deno.test("what bytes look like that are not UTF-8", () => {
  const cases: [Uint8Array, string | null][] = [
    [bytes("Caf", [0xe9]), "windows-1252"],
    [bytes("D", [0xed], "az ", [0x80], "5, 5", [0xa0, 0x80]), "windows-1252"],
    [bytes("undefined in it ", [0x81]), null],
    [bytes([0xcc, 0xee, 0xf1, 0xea, 0xe2, 0xe0]), null],
    [bytes("Díaz, caf", [0xe9]), null],
    [bytes("a\0b"), null],
    [bytes([0, 0, 0, 0]), null],
    [utf16("7,Ana"), "utf-16le"],
    [utf16("7,Ana", true), "utf-16be"],
  ];
  for (const [given, encoding] of cases) assert.equal(looksLike(given, true), encoding, String(given));
  // Behind a line end, the low byte of which ends the line before.
  assert.equal(looksLike(bytes([0], utf16("7,Ana"))), "utf-16le or utf-16be");
});

/** What the loader makes of a body that arrives in chunks of this size: the bytes for COPY, or the refusal. */
async function rowsOf(body: Uint8Array, size: number, feed: Record<string, unknown> = {}): Promise<string> {
  async function* arriving() {
    for (let i = 0; i < body.length; i += size) yield body.slice(i, i + size);
  }
  try {
    const settings = { format: "csv", delimiter: null, encoding: "utf-8", ...feed } as const;
    const { header, delimiter, chunks, records } = await openRows(
      await openText(arriving(), settings.encoding),
      settings,
    );
    const sent: Uint8Array[] = [];
    for await (const chunk of chunks) sent.push(chunk.slice());
    return JSON.stringify([
      header,
      delimiter,
      new TextDecoder("latin1").decode(bytes(...sent)).replaceAll(records.sentinel, "SENTINEL"),
    ]);
  } catch (error) {
    assert.ok(error instanceof EtlError, String(error));
    return `${error.code}: ${error.message}`;
  }
}

Deno.test("how the network cuts a file does not matter", async () => {
  for (const [name, { body, feed }] of Object.entries({ ...loads, ...rejected, ...refused })) {
    const all = bytes(body);
    const whole = await rowsOf(all, Infinity, feed);
    for (const size of all.length < 5000 ? [1, 2, 3, 7] : [997]) {
      assert.equal(await rowsOf(all, size, feed), whole, name);
    }
  }
});
