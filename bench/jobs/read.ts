/** The pass-through, `read URL`: takes the bytes and drops them. */
export default async function read(url: string): Promise<void> {
  const { body } = await fetch(url);
  for await (const _ of body!);
}
