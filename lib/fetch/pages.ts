/** A feed of many pages: each is asked for once the one before has been read, and none twice. */
import { EtlError } from "../errors.ts";
import type { Asking } from "./asking.ts";
import type { Download } from "./download.ts";
import { nextLink } from "./link.ts";

export class Pages implements AsyncDisposable {
  #asked: Set<string>;
  #page: Download;

  /** `next`: as etl.feeds has it. `first` is closed by who has opened it. `most`: how many there may be. */
  constructor(
    private readonly next: string | null,
    private readonly asking: Asking,
    private readonly first: Download,
    private readonly most: number,
    private readonly open: (asking: Asking) => Promise<Download>,
  ) {
    this.#page = first;
    this.#asked = new Set([asking.url.href]);
  }

  /** The page after this one; null where this is the last. `link`: where it is, as a document says. */
  async after(link: string | null): Promise<Download | null> {
    const { link: header, url: base } = this.#page;
    const found = this.next === "link" ? header && nextLink(header) : link;
    if (!found) return null;
    const url = this.#check(URL.parse(found, base));
    this.#asked.add(url.href);
    await this[Symbol.asyncDispose]();
    const place = url.origin + url.pathname;
    this.#page = await this.open({ ...this.asking, url, place }).catch((error) => {
      // That the feed's own file is not there yet is another matter.
      throw error.code === "http_404"
        ? astray(error.message, "Ask the partner why the page before links to it.")
        : error;
    });
    return this.#page;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#page !== this.first) await this.#page[Symbol.asyncDispose]();
  }

  #check(url: URL | null): URL {
    const { origin, hash } = this.asking.url;
    if (!url || url.username || url.password) {
      throw astray("its link is no URL that may be asked", "Check etl.feeds.next: it must lead to a URL.");
    }
    if (url.origin !== origin) {
      const hint = "Keys might go astray: ask the partner for links within one server, or for its URL.";
      throw astray(`it is on another server, ${url.origin}`, hint);
    }
    // The member of an archive is the same on all pages.
    url.hash = hash;
    if (this.#asked.has(url.href)) {
      throw astray("it is a page that was asked for already: the links lead in a circle", "Ask the partner.");
    }
    if (this.#asked.size === this.most) {
      throw astray(`there are more than ${this.most} pages`, "Ask the partner for larger pages, or whether they end.");
    }
    return url;
  }
}

function astray(message: string, hint: string): EtlError {
  return new EtlError("next", message, hint);
}
