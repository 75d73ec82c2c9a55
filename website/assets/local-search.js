// A browser starts no worker for a page that was opened from disk.  There, the search runs in a hidden frame instead.
if (location.protocol === "file:") {
  window.Worker = class {
    constructor(address) {
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.answer = (data) => this.onmessage && this.onmessage({ data: structuredClone(data) });
      frame.srcdoc =
        "<script>self.postMessage = (data) => frameElement.answer(data)</" +
        `script><script src="${new URL(address, location)}"></` + "script>";
      this.ready = new Promise((resolve) => frame.addEventListener("load", resolve));
      this.frame = document.body.appendChild(frame);
    }

    postMessage(data) {
      const copy = structuredClone(data); // as a worker gets it: the search changes the query that it is given
      this.ready.then(() => this.frame.contentWindow.onmessage({ data: copy }));
    }

    terminate() {
      this.frame.remove();
    }
  };
}
