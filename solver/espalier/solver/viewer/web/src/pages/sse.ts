// Reads server-sent events out of text that comes in pieces.

export interface ServerEvent {
  id: string;
  name: string;
  data: string;
}

export class Reader {
  private rest = "";

  feed(text: string): ServerEvent[] {
    const blocks = (this.rest + text).split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const event: ServerEvent = { id: "", name: "message", data: "" };
      for (const line of block.split("\n")) {
        if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("data: ")) event.data += line.slice(6);
      }
      return event.data ? [event] : [];
    });
  }
}
