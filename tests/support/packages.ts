/** Where the files of a data package are. The imports make Deno fetch it; the versions are in import_map.json. */
import "csv-spectrum/package.json" with { type: "json" };
import "sample-gtfs-feed/package.json" with { type: "json" };

/** `csvs` with a file each, and `json` with what a parser should make of it. */
export const csvSpectrum = new URL(".", import.meta.resolve("csv-spectrum/package.json"));

/** `gtfs`, a transit feed: a file for each table. */
export const sampleGtfsFeed = new URL(".", import.meta.resolve("sample-gtfs-feed/package.json"));
