/**
 * What is put up with, and for how long: each limit with its unit and its reason. docs/operation.md lists what becomes of
 * a feed above them.
 *
 * Two stand elsewhere: the levels of a JSON record in format/scan/assembly.ts, which is compiled by itself, and the wait
 * for a lock in database/transaction.ts, which hands it to Postgres.
 */

/** What is put up with from a partner's server; a caller of `load` may be less patient. */
export interface Patience {
  /** Milliseconds without a byte before a server counts as stalled. */
  stallMs: number;
  /** Bytes a second that are too few: a server that trickles would take up the time of all feeds. */
  slowest: number;
  /** Milliseconds before each further try after 429, 5xx or a network error: most of these pass within seconds. */
  retryMs: number[];
  /** Milliseconds that a server may have us wait by Retry-After: a feed that waits keeps the others of its run waiting. */
  longestWaitMs: number;
  /** Bytes of a body as it arrives: more is no table of a partner's, but a mistake or an attack. */
  bytes: number;
  /** Pages of a feed: each costs a request, and a server may link without end. */
  pages: number;
  /** Times its size that a body may unpack to: tables pack to a tenth, a bomb to a thousandth. */
  unpackRatio: number;
}

export const patient: Patience = {
  stallMs: 30_000,
  slowest: 1_000,
  retryMs: [500, 2_000, 5_000],
  longestWaitMs: 60_000,
  bytes: 16 * 2 ** 30,
  pages: 10_000,
  unpackRatio: 250,
};

/** What a run may take for fetching and staging, before it writes what it has. */
export interface Allowance {
  /** Milliseconds: what is not there by then waits for the next run. */
  deadlineMs: number;
  /** Bytes, unpacked: what does not fit waits for the next run, unless it is the first. */
  bytes: number;
}

/** On a machine of one's own. */
export const allowance: Allowance = { deadlineMs: 5 * 60_000, bytes: Infinity };

/**
 * In a hosted function. It has 150 s on the free plan, of which a worker that was there before is sure of half, and 2 s of
 * CPU; the rest of both is for the merge.
 */
export const allowanceOfFunction: Allowance = { deadlineMs: 45_000, bytes: 400e6 };

/** As fetch has it by itself: more is a circle. */
export const mostRedirects = 20;

/** Bytes that a body may unpack to, whatever its ratio: a small file of blanks does no harm. */
export const unpackedFreely = 64 * 2 ** 20;

/** Bytes of one record, which is held in memory as a whole: a function has 256 MB, and a quote that opens may never close. */
export const longestRecord = 8 * 2 ** 20;

/** Broken records that suffice to say that a file of which they are the greater part is not what it should be. */
export const hopelessRecords = 100_000;

/** Names in a CSV header: a table of Postgres takes no more columns. */
export const mostColumns = 1600;

/** Bytes of a link to a feed's next page: no server takes longer ones. */
export const longestLink = 16 * 1024;

/** Milliseconds for a connection to the database: a host that drops what it is sent would never answer. */
export const connectMs = 10_000;

/** Characters of a request's body to the function: its names of feeds need a fraction of it. */
export const longestRequest = 64 * 1024;

/** Milliseconds between two lines of a streamed answer: the platform ends what is silent for 150 s, proxies sooner. */
export const heartbeatMs = 15_000;
