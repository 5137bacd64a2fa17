// What the Admin API answers when it refuses something (RFC 9457), as an error one can catch.

export interface FieldProblem {
  field: string;
  detail: string;
}

export interface ProblemBody {
  title: string;
  status: number;
  detail: string;
  field?: string;
  errors?: FieldProblem[];
}

/** Whether a path, such as `timeouts.read` or `hosts[0]`, is that of a field or in it. */
export function isWithin(path: string, field: string): boolean {
  return path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`);
}

export class Problem extends Error {
  readonly status: number;
  readonly field: string | undefined;
  readonly errors: FieldProblem[];

  constructor(body: ProblemBody) {
    super(body.detail || body.title);
    this.name = "Problem";
    this.status = body.status;
    this.field = body.field;
    const errors = body.errors ?? (body.field ? [{ field: body.field, detail: body.detail }] : []);
    // Told at the field, its name need not be told again.
    this.errors = errors.map(({ field, detail }) => ({ field, detail: detail.startsWith(`${field}: `) ? detail.slice(field.length + 2) : detail }));
  }

  /** Reads one of an answer; what is not one, such as a proxy's page, becomes one. */
  static async of(answer: Response): Promise<Problem> {
    const text = await answer.text();
    try {
      const body: unknown = JSON.parse(text);
      if (isProblem(body)) return new Problem(body);
    } catch {
      // Not JSON: told by its text below.
    }
    return new Problem({ title: answer.statusText, status: answer.status, detail: text.trim().slice(0, 500) });
  }
}

function isProblem(body: unknown): body is ProblemBody {
  return typeof body === "object" && body !== null && "status" in body && "title" in body;
}

/** The gateway could not be reached. */
export class Unreachable extends Error {
  constructor(cause: unknown) {
    super("unreachable", { cause });
    this.name = "Unreachable";
  }
}
