// The form of server-sent events: takes them out of text that comes in pieces.

export interface Message {
  name: string;
  data: string;
  /** The last id that was told, with this event or before it. */
  id: string;
}

/** Takes the pieces as they come, and returns the events that each one completes. */
export function parser(): (piece: string) => Message[] {
  let [rest, name, id] = ["", "", ""];
  let data: string[] = [];

  function line(text: string): Message | undefined {
    if (text === "") {
      const message = data.length > 0 ? { name: name || "message", data: data.join("\n"), id } : undefined;
      [name, data] = ["", []];
      return message;
    }
    const colon = text.indexOf(":");
    const field = colon < 0 ? text : text.slice(0, colon);
    const value = colon < 0 ? "" : text.slice(colon + 1).replace(/^ /, "");
    if (field === "event") name = value;
    else if (field === "data") data.push(value);
    else if (field === "id") id = value;
    return undefined;
  }

  return (piece) => {
    // A CR at the end may be half of a CRLF.
    const lines = (rest + piece).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? "";
    return lines.map(line).filter((message) => message !== undefined);
  };
}
