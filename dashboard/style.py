"""The look of the pages beyond Streamlit's theme: width, one column below 1,000 px, cards."""

WIDTH_PX, ONE_COLUMN_PX = 1_180, 1_000
EYE = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 40 40" height="40">
<path d="M3 20 Q20 3 37 20 Q20 37 3 20 Z" fill="none" stroke="#2E8CC7" stroke-width="3.4"/>
<circle cx="20" cy="20" r="5.6" fill="#E69F00"/></svg>"""

COPY_LINK = """<button class="copy-link" type="button" title="The address holds what you chose">Copy link</button>
<script>
for (const button of document.querySelectorAll("button.copy-link")) {
  button.onclick = async () => {
    try {
      await navigator.clipboard.writeText(location.href);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy link" }, 1500);
    } catch {
      window.prompt("The address of this view", location.href);
    }
  };
}
</script>"""
"""A button that copies the address as the browser has it; it holds no text of a workspace."""

STYLE = f"""<style>
.stMainBlockContainer {{max-width: {WIDTH_PX}px; padding-top: 4rem; padding-bottom: 3rem}}
.stMainBlockContainer h1 {{font-size: 1.75rem; padding: 0 0 .2rem; line-height: 1.25}}
.stMain {{font-variant-numeric: tabular-nums}}
@media (max-width: {ONE_COLUMN_PX}px) {{
  .stMain .stColumn {{min-width: calc(100% - 1.5rem)}}
  .stMain .stColumn:has(.stSelectbox, .stButtonGroup):not(:has(.stVegaLiteChart)) {{min-width: 13rem}}
  .st-key-answers .stColumn {{min-width: calc(50% - 1rem)}}
  .st-key-reading .stHorizontalBlock:has(> .stColumn .stDataFrame) {{flex-flow: column-reverse nowrap}}
}}
.copy-link {{border: 1px solid rgba(128,128,128,.4); border-radius: 8px; background: none; color: inherit;
  font: inherit; font-size: .875rem; padding: .15rem .7rem; cursor: pointer; white-space: nowrap}}
.copy-link:hover, .copy-link:focus-visible {{border-color: currentColor}}
.cards {{display: grid; grid-template-columns: repeat(auto-fit, minmax(245px, 1fr)); gap: 12px}}
.cards > div {{border: 1px solid rgba(128,128,128,.4); border-radius: 10px; padding: 12px 16px}}
.cards b {{display: block; font-size: 1.6rem; line-height: 1.5; overflow-wrap: anywhere}}
[data-testid="stCaptionContainer"], [data-testid="stCaptionContainer"] p {{color: inherit; opacity: .88}}
.cards small {{font-size: .88rem; opacity: .82}}
</style>"""
