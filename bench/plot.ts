/** `deno run -A bench/plot.ts BENCH.json OUT.svg`: what the benchmark has measured, as bars in two panels. */
import type { Result as CpuResult } from "./cpu/results.ts";
import type { Result as TimeResult } from "./time/results.ts";

interface Bar {
  name: string;
  value: number;
  label: string;
  colour: string;
}

interface Panel {
  title: string;
  subtitle: string;
  bars: Bar[];
}

const barWidth = 430, right = 140, barHeight = 18, gap = 8, headHeight = 62;
const ours = "#2b6cb0", others = "#a0aec0", reference = "#dd6b20";

function cpuPanel(results: CpuResult[]): Panel {
  const bars = results.flatMap(({ case: name, cpuMsPerMb }) =>
    cpuMsPerMb
      ? [{
        name,
        value: cpuMsPerMb.median,
        label: cpuMsPerMb.median.toFixed(1),
        colour: colourOf(name, /^(pass|csv-)/),
      }]
      : []
  );
  const size = results.find(({ megabytes }) => megabytes > 0)?.megabytes.toFixed(0);
  return {
    title: "CPU of the process that loads, ms per MB",
    subtitle: `Process start included, files of ${size} MB, median of ${results[0].rounds}. * staged, no merge`,
    bars,
  };
}

function timePanel(results: TimeResult[]): Panel {
  const bars = results.flatMap(({ case: name, toByHand, wallMs }) =>
    toByHand === null ? [] : [{
      name,
      value: toByHand.median,
      label: `${toByHand.median.toFixed(2)} × (${(wallMs.median / 1000).toFixed(1)} s)`,
      colour: colourOf(name, /^(?!tdc-etl)/),
    }]
  );
  return {
    title: "Time of the whole job, relative to COPY and upsert by hand",
    subtitle: `${results[0].rows.toLocaleString("en-US")} trips, median of ${results[0].rounds}. ` +
      "First loads against the first load by hand, all others against its re-run",
    bars,
  };
}

function colourOf(name: string, other: RegExp): string {
  return name.startsWith("by hand") ? reference : other.test(name) ? others : ours;
}

/** A bar that would leave the others no room is cut, with a mark. */
function drawPanel({ title, subtitle, bars }: Panel, top: number, left: number): string {
  const values = bars.map(({ value }) => value).toSorted((a, b) => a - b);
  const longest = values.at(-1)!, second = values.at(-2) ?? longest;
  const limit = longest > second * 2.5 ? second * 1.25 : longest;
  const scale = barWidth / limit;
  const lines = bars.map(({ name, value, label, colour }, i) => {
    const y = top + headHeight + i * (barHeight + gap), middle = y + barHeight / 2 + 4;
    const length = Math.max(Math.min(value, limit) * scale, 1);
    const cut = value > limit
      ? `<path d="M${left + length - 18} ${y + barHeight + 2}l6 -${barHeight + 4}h5l-6 ${barHeight + 4}z" fill="#fff"/>`
      : "";
    return `<text x="${left - 10}" y="${middle}" text-anchor="end">${escape(name)}</text>
<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="${barHeight}" fill="${colour}"/>${cut}
<text x="${(left + length + 8).toFixed(1)}" y="${middle}">${escape(label)}</text>`;
  });
  return `<text x="24" y="${top + 26}" font-size="17" font-weight="bold">${escape(title)}</text>
<text x="24" y="${top + 46}" fill="#4a5568">${escape(subtitle)}</text>
${lines.join("\n")}`;
}

function escape(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
}

function heightOf({ bars }: Panel): number {
  return headHeight + bars.length * (barHeight + gap) + 16;
}

function draw(panels: Panel[]): string {
  // Room for the longest name, at a width that no usual font exceeds.
  const names = panels.flatMap(({ bars }) => bars.map(({ name }) => name.length));
  const left = Math.ceil(30 + Math.max(...names) * 7.3), width = left + barWidth + right;
  let height = 0;
  const drawn = panels.map((panel) => {
    const top = height;
    height += heightOf(panel);
    return drawPanel(panel, top, left);
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"
font-family="Helvetica, Arial, 'DejaVu Sans', sans-serif" font-size="13" fill="#1a202c">
<rect width="100%" height="100%" fill="#fff"/>
${drawn.join("\n")}
</svg>
`;
}

const [from, to] = Deno.args;
if (!to) {
  console.error("deno run -A bench/plot.ts BENCH.json OUT.svg");
  Deno.exit(2);
}
const { cpu, time } = JSON.parse(await Deno.readTextFile(from));
const panels = [
  ...(cpu ? [cpuPanel(cpu.results)] : []),
  ...(time ? [timePanel(time.results)] : []),
].filter(({ bars }) => bars.length > 0);
if (panels.length === 0) {
  console.error("Nothing to draw: the chart shows the groups cpu and time, the latter beside COPY by hand.");
  Deno.exit(1);
}
await Deno.writeTextFile(to, draw(panels));
