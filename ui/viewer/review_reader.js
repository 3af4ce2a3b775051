// Ask the server for the measures of a line that moves. One question at a time; meanwhile only the newest line is
// remembered. An answer is shown only if it is of the line that was asked last: older numbers never stand beside it.

export class LineReader {
  // post: (body) → promise of the answer; show: (answer, line) with answer null while the newest line is not read yet.
  constructor(post, show) { Object.assign(this, { post, show, number: 0, isBusy: false, wanted: null }); }

  ask(line, about) {
    this.number += 1;
    this.wanted = { number: this.number, line, about };
    this.show(null, line);
    return this.isBusy ? Promise.resolve() : this.work();
  }

  // Nothing is read any more, and what is on its way is not shown.
  drop() { this.number += 1; this.wanted = null; }

  async work() {
    this.isBusy = true;
    try {
      while (this.wanted) {
        const { number, line, about } = this.wanted;
        this.wanted = null;
        let answer;
        try {
          answer = await this.post({ number, ...about, entry_lps_mm: line.entry, target_lps_mm: line.target });
        } catch (problem) { answer = { number, detail: 'The server did not answer (' + problem.message + ').' }; }
        if (answer.number === this.number) this.show(answer, line);
      }
    } finally { this.isBusy = false; }
  }
}
