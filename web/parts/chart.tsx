/** Bars, drawn as SVG: in the page's colours, printed sharp, and beside them the same as a table. */
import { useEffect, useRef, useState } from "preact/hooks";
import { number } from "../format.ts";
import { words } from "../words.ts";

export interface Bar {
  /** Under the axis, where there is room. */
  tick: string;
  /** All that there is to say of it. */
  title: string;
  /** From the bottom up. */
  parts: number[];
}

const height = 180, left = 44, bottom = 24, top = 10;

export function Chart({ caption, bars, kinds = [] }: { caption: string; bars: Bar[]; kinds?: string[] }) {
  const box = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [at, setAt] = useState<number>();
  useEffect(() => {
    const observer = new ResizeObserver(([entry]) => setWidth(entry.contentRect.width));
    observer.observe(box.current!);
    return () => observer.disconnect();
  }, []);
  const total = (bar: Bar) => bar.parts.reduce((sum, part) => sum + part, 0);
  const marks = scale(Math.max(1, ...bars.map(total)));
  const room = Math.max(1, width - left), step = Math.min(64, room / Math.max(1, bars.length));
  const y = (value: number) => top + (height - top - bottom) * (1 - value / marks.at(-1)!);
  const every = Math.max(1, Math.ceil(72 / step));
  const point = (event: PointerEvent) => {
    const x = event.clientX - box.current!.getBoundingClientRect().left - left;
    setAt(x < 0 || x >= bars.length * step ? undefined : Math.floor(x / step));
  };
  return (
    <figure class="chart">
      <figcaption>
        {caption}
        {kinds.length > 0 && (
          <span class="legend">{kinds.map((kind, i) => <span key={kind} class={`kind part-${i}`}>{kind}</span>)}</span>
        )}
      </figcaption>
      <div class="plot" ref={box} onPointerMove={point} onPointerDown={point} onPointerLeave={() => setAt(undefined)}>
        {width > 0 && (
          <svg
            class={at === undefined ? undefined : "picked"}
            width={width}
            height={height}
            role="img"
            aria-label={caption}
          >
            {marks.map((mark) => (
              <g key={mark}>
                <line class="grid" x1={left} x2={width} y1={y(mark)} y2={y(mark)} />
                <text class="mark" x={left - 8} y={y(mark) + 4} text-anchor="end">{number(mark)}</text>
              </g>
            ))}
            {bars.map((bar, i) => {
              let base = 0;
              const gap = step > 4 ? Math.min(6, step * 0.25) : 0;
              return (
                <g key={i} class={i === at ? "bar at" : "bar"}>
                  {bar.parts.map((part, kind) => {
                    const from = y(base), to = y(base += part);
                    return part > 0 && (
                      <rect
                        key={kind}
                        class={`part-${kind}`}
                        x={left + i * step + gap / 2}
                        width={Math.min(48, step - gap)}
                        y={Math.min(to, from - 1)}
                        height={Math.max(1, from - to)}
                      />
                    );
                  })}
                  {i % every === 0 && left + i * step + 60 < width + step && (
                    <text class="mark" x={left + i * step + gap / 2} y={height - 6}>{bar.tick}</text>
                  )}
                </g>
              );
            })}
          </svg>
        )}
        {at !== undefined && bars[at] && (
          <div
            class="tip"
            ref={(tip) => {
              // Beside the bar, and not beyond the edge.
              if (tip) {
                tip.style.left = `${
                  Math.min(Math.max(0, left + at * step - 60), Math.max(0, width - tip.offsetWidth))
                }px`;
              }
            }}
          >
            {bars[at].title}
          </div>
        )}
      </div>
      <details class="as-table">
        <summary>{words.chartTable}</summary>
        <ul>{bars.filter((bar) => total(bar) > 0).map((bar) => <li key={bar.title}>{bar.title}</li>)}</ul>
      </details>
    </figure>
  );
}

/** Up to four round numbers from 0 to at least `most`. */
export function scale(most: number): number[] {
  const rough = most / 3;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(
    1,
    [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= rough && Number.isInteger(n)) ?? 1,
  );
  return Array.from({ length: Math.ceil(most / step) + 1 }, (_, i) => i * step);
}
