"""FreeSurfer's MGH and MGZ."""
