/** A real Chromium: the one that is installed here, and in CI Debian's package, where there is none. */
import { type Browser, chromium } from "playwright-core";
import { output } from "../support/command.ts";

const usual = [
  ...["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].map((name) => `/usr/bin/${name}`),
  "/snap/bin/chromium",
  "/opt/google/chrome/chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
];

/** CHROME names another. */
async function installed(): Promise<string | undefined> {
  for (const path of [Deno.env.get("CHROME"), ...usual]) {
    if (path && await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
}

async function install(): Promise<void> {
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await output("apt-get", ["update", "-qq"], { env });
  await output("apt-get", ["install", "-y", "-qq", "--no-install-recommends", "chromium", "fonts-liberation"], { env });
}

export async function startBrowser(): Promise<Browser> {
  if (!await installed() && Deno.env.get("CI")) await install();
  const executablePath = await installed();
  if (!executablePath) throw new Error("There is no Chrome or Chromium here: install one, or name it in CHROME.");
  return await chromium.launch({
    executablePath,
    args: [
      ...["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
      ...["--disable-component-update", "--disable-sync"],
    ],
  });
}
