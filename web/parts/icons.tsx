/** Line drawings of 20 units; each beside words that say the same. */
const shapes = {
  ok: "M4.5 10.5l3.5 3.5 7.5-8",
  warn: "M10 3.5l7 12.5H3L10 3.5zM10 8v3.6M10 13.8v.2",
  bad: "M10 2.8a7.2 7.2 0 100 14.4 7.2 7.2 0 000-14.4zM7.4 7.4l5.2 5.2M12.6 7.4l-5.2 5.2",
  off: "M10 2.8a7.2 7.2 0 100 14.4 7.2 7.2 0 000-14.4zM6.8 10h6.4",
  trips: "M3.5 16.5V11M7.8 16.5V4.5M12.2 16.5V8.5M16.5 16.5V3.5",
  churned:
    "M8 9.2a3 3 0 100-6 3 3 0 000 6zM2.8 16.8c.3-3 2.4-4.8 5.2-4.8 1.4 0 2.6.4 3.5 1.2M13.2 13.2l4 4M17.2 13.2l-4 4",
  feeds: "M3.5 5.2h13M3.5 10h13M3.5 14.8h13M6.2 3.8v2.8M12.4 8.6v2.8M8.6 13.4v2.8",
  search: "M8.8 14.2a5.4 5.4 0 100-10.8 5.4 5.4 0 000 10.8zM12.8 12.8l4 4",
  export: "M10 3.2v9M6.4 8.8L10 12.4l3.6-3.6M3.8 16.4h12.4",
  back: "M12 4.5L6.5 10l5.5 5.5",
  forward: "M8 4.5l5.5 5.5L8 15.5",
  out: "M8.2 3.8H4.4v12.4h3.8M8.4 10h8M13.4 7l3 3-3 3",
};

export type IconName = keyof typeof shapes;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
      <path d={shapes[name]} />
    </svg>
  );
}
